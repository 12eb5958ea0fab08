"""What the runs of all engines share, in the pod.

These modules and an engine's `run_in_pod.py` are mounted from a ConfigMap (`budeval.engines.pod_files`):
standard library only, Python 3.9 and later.
"""

MODULES = tuple(
    f"{__name__}.{name}"
    for name in (
        "endpoint",
        "engine_process",
        "failure",
        "files",
        "masking",
        "plan",
        "program",
        "progress",
        "provenance",
        "rows",
    )
)
"""All of them; a test holds this list against the directory."""
