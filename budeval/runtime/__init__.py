"""The door to Dapr: `sidecar` (state, messages), `workflow_engine` (workflows), `readiness` (of both)."""
