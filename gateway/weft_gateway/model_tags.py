"""Ollama's names of models have a tag, `latest` where it is left out; its lists write it, and any client may."""

LATEST = ":latest"


def other_name(model: str) -> str:
    """How else a model may be called, with the tag or without it."""
    return model.removesuffix(LATEST) if model.endswith(LATEST) else f"{model}{LATEST}"
