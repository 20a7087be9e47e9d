"""Dialects: foreign REST bodies turned into weft.inference.v1 and back, next to the engine."""
