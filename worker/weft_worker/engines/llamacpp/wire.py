"""llama.cpp's own request and chunks: plain data in, plain data out."""

from dataclasses import dataclass
from typing import Any

import orjson

from weft_common.errors import ContextLengthExceeded, EngineFailed, FieldViolation, InvalidRequest, WeftError
from weft_worker.engines.base import Delta, Finished, FinishReason, Generation, Message, Sampling, Usage

# llama.cpp takes 32 bits and reads the highest value as "draw one".
_SEED_COUNT = 2**32 - 1
# The library keeps a ring of this size for each request that has a penalty.
_PENALTY_TOKENS = 32_768


def encode_request(generation: Generation) -> str:
    """Write the body of a chat completion, always as a stream: otherwise it could not be cancelled."""
    body: dict[str, object] = {
        "messages": [_message(message) for message in generation.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        # Calls back during the prefill too, so that a client who leaves then frees the slot.
        "return_progress": True,
        **_sampling(generation.sampling),
    }
    return orjson.dumps({key: value for key, value in body.items() if value is not None}).decode()


class Answer:
    """Reads the chunks of one answer; state: why it finished and what it used, once the library has said so."""

    def __init__(self) -> None:
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None

    def read(self, chunks: list[str]) -> Delta | None:
        """Take the text of some chunks; raises the failure that a chunk tells of."""
        texts = [text for chunk in chunks if (text := self._read_one(orjson.loads(chunk)))]
        return Delta("".join(texts), len(texts)) if texts else None

    def finish(self) -> Finished:
        """Give the end, after the last chunk."""
        if self._reason is None or self._usage is None:
            raise EngineFailed("llama.cpp ended the answer without saying why.")
        return Finished(self._reason, self._usage)

    def _read_one(self, chunk: Any) -> str | None:
        if "error" in chunk:
            raise _failure(chunk["error"])
        if usage := chunk.get("usage"):
            self._usage = _usage(usage)
        text: str | None = None
        for choice in chunk["choices"]:
            if choice["finish_reason"] is not None:
                self._reason = (
                    FinishReason.LENGTH if choice["finish_reason"] == "length" else FinishReason.STOP
                )
            text = choice["delta"].get("content")
        return text


def _message(message: Message) -> dict[str, str]:
    name = {"name": message.name} if message.name else {}
    return {"role": message.role, "content": message.content, **name}


def _sampling(sampling: Sampling) -> dict[str, object]:
    penalised = sampling.frequency_penalty or sampling.presence_penalty
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": None if sampling.seed is None else sampling.seed % _SEED_COUNT,
        "max_tokens": sampling.max_tokens,
        "stop": list(sampling.stop) or None,
        "ignore_eos": sampling.ignore_eos or None,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        # OpenAI's penalties count over the whole text, llama.cpp's by default over 64 tokens.
        "repeat_last_n": _PENALTY_TOKENS if penalised else None,
    }


@dataclass(frozen=True, slots=True)
class _Told:
    """llama.cpp's error object."""

    kind: str
    message: str


def _failure(error: Any) -> WeftError:
    told = _Told(str(error.get("type", "")), str(error.get("message", error)))
    match told.kind:
        case "exceed_context_size_error":
            return _context_exceeded(error, told.message)
        case "invalid_request_error":
            return InvalidRequest(told.message)
        case _:
            return EngineFailed(f"llama.cpp failed: {told.message}")


def _context_exceeded(error: Any, message: str) -> WeftError:
    prompt, context = error.get("n_prompt_tokens"), error.get("n_ctx")
    if prompt and context:
        message = (
            f"This model's maximum context length is {context} tokens. However, your messages resulted in "
            f"{prompt} tokens. Please reduce the length of the messages."
        )
    return ContextLengthExceeded(message, violations=[FieldViolation("messages", message)])


def _usage(usage: Any) -> Usage:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return Usage(usage["prompt_tokens"], usage["completion_tokens"], cached)
