"""The scoring engines: what they cost, how fast they are, and how far they agree."""
