"""What Anthropic's clients are told of a prompt that is too long."""

import pytest

from weft_common.errors import ContextLengthExceeded, EngineFailed
from weft_worker.dialects.anthropic.overflow import in_anthropics_words


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "This model's maximum context length is 768 tokens. However, your messages resulted in 2109 tokens. "
            "Please reduce the length of the messages.",
            "prompt is too long: 2109 tokens > 768 maximum",
        ),
        (
            "This model's maximum context length is 768 tokens. However, your messages resulted in more than that: "
            "they have 9000 bytes.",
            "prompt is too long: This model's maximum context length is 768 tokens. However, your messages resulted in "
            "more than that: they have 9000 bytes.",
        ),
        ("prompt too big", "prompt is too long: prompt too big"),
    ],
)
def test_an_overflow_is_told_with_its_numbers_where_there_are_any(message: str, told: str) -> None:
    assert in_anthropics_words(ContextLengthExceeded(message)).message == told


def test_other_failures_keep_their_words() -> None:
    error = EngineFailed("No.")
    assert in_anthropics_words(error) is error
