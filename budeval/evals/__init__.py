"""Evaluations: the API (`routes`, `schema`), what happens (`workflows`), and how (`activities`)."""
