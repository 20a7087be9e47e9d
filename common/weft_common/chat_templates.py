"""What a chat template tells of its model, without running it."""

_SIGNS_OF_THOUGHT = (
    "<think>",
    "</think>",
    "enable_thinking",
    "reasoning_content",
    "reasoning_effort",
    "[THINK]",
)


def template_thinks(template: str) -> bool:
    """Whether a model with this chat template thinks, or can be had to."""
    return any(sign in template for sign in _SIGNS_OF_THOUGHT)
