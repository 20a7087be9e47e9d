"""Jina's REST API for reranking, as LocalAI and vLLM have it too."""
