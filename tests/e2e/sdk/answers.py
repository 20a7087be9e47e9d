"""The same question in every dialect that writes text, and what was said in answer, whole or in pieces."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

ANTHROPIC_HEADERS = {"anthropic-version": "2023-06-01"}


@dataclass(frozen=True)
class Writer:
    """One path that writes text."""

    path: str
    body: Callable[[str, str, Mapping[str, Any]], dict[str, Any]]
    """Of model, prompt and options: `seed`, `temperature`, `stop`, `limit` (of tokens)."""
    text: Callable[[Any], str]
    """Of a whole answer."""
    piece: Callable[[Any], str]
    """Of one event of a stream."""
    is_end: Callable[[str], bool]
    """Whether a stream's last line is the one that only success has."""
    form: Callable[[Any], dict[str, Any]] | None
    """The fields that hold an answer to a JSON schema, where there are such."""

    def streamed(self, raw: bytes) -> str:
        """What a stream said; fails where it has no end, or where a piece alone is no valid text."""
        lines = [line for line in raw.decode().splitlines() if line and not line.startswith((":", "event:"))]
        datas = [line.removeprefix("data: ") for line in lines]
        assert self.is_end(datas[-1]), raw[-300:]
        pieces = [self.piece(json.loads(data)) for data in datas if data != "[DONE]"]
        assert not any("\ufffd" in piece for piece in pieces), pieces
        return "".join(pieces)

    def stream_body(self, model: str, prompt: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """The same question, for a stream."""
        return {**self.body(model, prompt, options), "stream": True}


def _openai(options: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: options[name] for name in ("seed", "stop") if name in options}
    return {**told, "temperature": options.get("temperature", 0), "max_tokens": options.get("limit", 60)}


def _openai_chat(model: str, prompt: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **_openai(options)}


def _completion(model: str, prompt: str, options: Mapping[str, Any]) -> dict[str, Any]:
    # weft-tiny's own template, so that the model does here what it does everywhere.
    asked = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
    return {"model": model, "prompt": asked, **_openai(options)}


def _message(model: str, prompt: str, options: Mapping[str, Any]) -> dict[str, Any]:
    told = {"stop_sequences": [options["stop"]]} if "stop" in options else {}
    return {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": options.get("limit", 60),
        "temperature": options.get("temperature", 0),
        **told,
    }


def _ollama(options: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: options[name] for name in ("seed", "stop") if name in options}
    limits = {"temperature": options.get("temperature", 0), "num_predict": options.get("limit", 60)}
    return {"stream": False, "options": {**told, **limits}}


def _ollama_chat(model: str, prompt: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **_ollama(options)}


def _ollama_generate(model: str, prompt: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": model, "prompt": prompt, **_ollama(options)}


def _openai_form(schema: Any) -> dict[str, Any]:
    named = {"name": "form", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _anthropic_form(schema: Any) -> dict[str, Any]:
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


def _ollama_form(schema: Any) -> dict[str, Any]:
    return {"format": schema}


def _is_done(line: str) -> bool:
    return line == "[DONE]"


def _is_last(line: str) -> bool:
    return json.loads(line).get("done") is True


WRITERS = (
    Writer(
        "/v1/chat/completions",
        _openai_chat,
        lambda whole: whole["choices"][0]["message"]["content"],
        lambda event: "".join(choice["delta"].get("content") or "" for choice in event["choices"]),
        _is_done,
        _openai_form,
    ),
    Writer(
        "/v1/completions",
        _completion,
        lambda whole: whole["choices"][0]["text"],
        lambda event: "".join(choice["text"] for choice in event["choices"]),
        _is_done,
        None,
    ),
    Writer(
        "/v1/messages",
        _message,
        lambda whole: "".join(block["text"] for block in whole["content"]),
        lambda event: event["delta"]["text"] if event["type"] == "content_block_delta" else "",
        lambda line: json.loads(line) == {"type": "message_stop"},
        _anthropic_form,
    ),
    Writer(
        "/api/chat",
        _ollama_chat,
        lambda whole: whole["message"]["content"],
        lambda event: event["message"]["content"],
        _is_last,
        _ollama_form,
    ),
    Writer(
        "/api/generate",
        _ollama_generate,
        lambda whole: whole["response"],
        lambda event: event["response"],
        _is_last,
        _ollama_form,
    ),
)
