"""The CPU engine: llama.cpp through xllamacpp, with continuous batching over the slots of one model."""

from weft_worker.engines.llamacpp.engine import LlamaCppEngine

__all__ = ["LlamaCppEngine"]
