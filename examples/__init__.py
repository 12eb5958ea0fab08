"""Examples of what stands around the service."""
