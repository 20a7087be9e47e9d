"""Probabilities of a prompt's tokens: the library tells them of tokens that it has chosen, so each is forced on it.

What it tells is what the model computed, before the bias that forces. Each step costs as much as a token of an answer,
since the library keeps what it has read.
"""

from math import nan
from typing import Any

import orjson

from weft_common.errors import EngineFailed, WeftError
from weft_worker.engines.base import TokenChance, TokenLogprob
from weft_worker.engines.limits import unknown_prompt_token
from weft_worker.engines.llamacpp.answer import read_logprob

# Beyond what any logit is.
_FORCE = 1000.0
# More than any vocabulary has: the library tells as many as there are.
_ALL = 1_000_000
_UNKNOWN_TOKENS = "invalid tokens"


def first_chance(piece: bytes) -> TokenLogprob:
    """Of a prompt's first token nothing is known: nothing stands before it."""
    return TokenLogprob(TokenChance(piece.decode(errors="replace"), piece, nan))


def forced_chance(server: Any, before: tuple[int, ...], token: int, top: int, letter: int) -> TokenLogprob:
    """How likely a token was behind others; blocks. Raises InvalidRequest for one that is none, and EngineFailed.

    Of one that only begins a character nothing is told: it is looked up beside a `letter`, among all of them.
    """
    told = _told(server, before, token, max(top, 1))
    if told is not None:
        if told["id"] != token:
            raise unknown_prompt_token(token)
        return read_logprob(told, top)
    among = _told(server, before, letter, _ALL)
    if among is not None:
        for each in among["top_logprobs"]:
            if each["id"] == token:
                return read_logprob({**each, "top_logprobs": among["top_logprobs"]}, top)
    raise EngineFailed("llama.cpp told no probability of a prompt's token.")


def _told(server: Any, before: tuple[int, ...], token: int, count: int) -> Any:
    """What the library tells of a token that it was made to choose; None where that is no whole character."""
    asked = {
        "prompt": before,
        "stream": True,
        "max_tokens": 1,
        "temperature": 0,
        "logit_bias": [[token, _FORCE]],
        "logprobs": count,
    }
    chunks: list[str] = []
    server.handle_completions(orjson.dumps(asked).decode(), lambda chunk: chunks.append(chunk))
    for chunk in map(orjson.loads, chunks):
        if "error" in chunk:
            raise _failure(str(chunk["error"].get("message", "")), before)
        for choice in chunk["choices"]:
            for told in (choice.get("logprobs") or {}).get("content", ()):
                return told
    return None


def _failure(message: str, before: tuple[int, ...]) -> WeftError:
    if _UNKNOWN_TOKENS in message:
        return unknown_prompt_token(max(before))
    return EngineFailed(f"llama.cpp failed: {message}")
