"""Prompts of models that have learnt to fill gaps: what comes before, what comes after, and marks around both."""

from weft_worker.engines.abilities import Input
from weft_worker.engines.llamacpp.door import Door

# Before what comes before, before what comes after, and before what is to be written: of Qwen and Granite, StarCoder,
# DeepSeek, Code Llama, CodeGemma's kin, GLM.
_MARKS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # noqa: RUF001 (so they are written)
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ("<PRE>", "<SUF>", "<MID>"),
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
)


def gap_prompt(door: Door, before: Input, after: str) -> tuple[int, ...] | None:
    """The tokens of such a prompt; None where the vocabulary has no marks. Blocks."""
    marks = _marks_of(door)
    if marks is None:
        return None
    begins, follows, writes = marks
    front = door.tokens(before, whole=False).ids if isinstance(before, str) else before
    opening = door.tokens("", whole=True).ids
    return (*opening, begins, *front, follows, *door.tokens(after, whole=False).ids, writes)


def _marks_of(door: Door) -> tuple[int, int, int] | None:
    for names in _MARKS:
        found = [door.tokens(name, whole=False).ids for name in names]
        if all(len(ids) == 1 for ids in found):
            begins, follows, writes = (ids[0] for ids in found)
            return begins, follows, writes
    return None
