"""What an upstream tells beside the text: tokens that were used, and their probabilities."""

from collections.abc import Iterator
from typing import Any

from weft_worker.engines.base import TokenChance, TokenLogprob, Usage


def read_usage(told: Any) -> Usage | None:
    """Read what the upstream counted; None where it is nothing that can be counted."""
    prompt, completion = _count(told.get("prompt_tokens")), _count(told.get("completion_tokens"))
    if prompt is None or completion is None:
        return None
    return Usage(
        prompt,
        completion,
        _count((told.get("prompt_tokens_details") or {}).get("cached_tokens")) or 0,
        _count((told.get("completion_tokens_details") or {}).get("reasoning_tokens")) or 0,
    )


def _count(number: object) -> int | None:
    is_count = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**31
    return number if is_count and isinstance(number, int) else None


def read_logprobs(told: Any, wanted: int) -> Iterator[TokenLogprob]:
    """Read those of a chunk's tokens, as chats have them; completions have them as OpenAI once did."""
    if told.get("tokens"):
        yield from _old_logprobs(told, wanted)
    for each in (*(told.get("content") or ()), *(told.get("refusal") or ())):
        likeliest = tuple(map(_chance, (each.get("top_logprobs") or ())[:wanted]))
        yield TokenLogprob(_chance(each), likeliest)


def _chance(told: Any) -> TokenChance:
    data = told.get("bytes")
    # Of a number, `bytes` would make as many zeros.
    if not isinstance(data, list | None):
        raise TypeError
    return TokenChance(
        str(told["token"]),
        str(told["token"]).encode() if data is None else bytes(data),
        float(told["logprob"]),
    )


def _old_logprobs(told: Any, wanted: int) -> Iterator[TokenLogprob]:
    likeliest = told.get("top_logprobs") or [{}] * len(told["tokens"])
    for token, logprob, others in zip(told["tokens"], told["token_logprobs"], likeliest, strict=True):
        ranked = sorted((others or {}).items(), key=lambda pair: -float(pair[1]))[:wanted]
        yield TokenLogprob(_named(token, logprob), tuple(_named(*pair) for pair in ranked))


def _named(token: object, logprob: Any) -> TokenChance:
    return TokenChance(str(token), str(token).encode(), float(logprob))
