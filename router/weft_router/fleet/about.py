"""What the files of a model say about it that people and clients ask for: pure values."""

from dataclasses import dataclass

_BILLION, _MILLION = 10**9, 10**6


@dataclass(frozen=True, slots=True)
class About:
    """Empty, or 0, where the files do not tell."""

    format: str = ""
    """`gguf` or `safetensors`."""
    architecture: str = ""
    """As its makers call it, such as `llama` or `qwen3`."""
    parameter_size: str = ""
    """How many parameters it has, for people: `7.2B`."""
    quantization: str = ""
    """How exact they are, as llama.cpp calls it: `Q4_K_M`, `F16`."""
    embedding_size: int = 0
    """How many numbers stand for a token."""
    trained_context_size: int = 0
    """The most tokens that it was trained to read."""
    thinks: bool = False
    """Whether it thinks before it answers, or can be had to."""


UNTOLD = About()


def counted(parameter_count: float) -> str:
    """A number of parameters for people; empty where there are none."""
    if parameter_count >= _BILLION:
        return f"{parameter_count / _BILLION:.1f}B"
    return f"{parameter_count / _MILLION:.2f}M" if parameter_count >= _MILLION / 100 else ""
