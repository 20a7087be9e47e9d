"""Cohere's REST API for reranking."""
