"""The development stack: Dapr, Kubernetes, Redis and a small model, all of them real.

`python -m dev` (see `__main__`) drives it. `stack` composes the parts, `part` says what a part is,
`network`, `process` and `cache` are what they stand on. The service never imports this package.
"""
