"""Ollama's REST API: its request bodies as models, its answers byte for byte."""
