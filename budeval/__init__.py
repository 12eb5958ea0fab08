"""budeval: evaluate LLMs on Kubernetes, durably.

`main` wires the service together; `evals` holds the evaluation API and its workflows; `runtime` is the door
to Dapr and `ansible` the door to Kubernetes; `domain` is pure data and rules.
"""
