"""Scoring single RAG samples: endpoints that judge and embed, and the metrics that ask them."""
