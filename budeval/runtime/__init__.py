"""The door to Dapr: `sidecar` for state, messages and health, `workflow_engine` for workflows."""
