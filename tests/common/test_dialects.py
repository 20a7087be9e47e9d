"""Whose words a path's answers have, and how each of them tells a failure."""

import orjson
import pytest

from weft_common.dialect_errors import error_body
from weft_common.dialects import Dialect, dialect_of
from weft_common.errors import (
    BodyTooLarge,
    InvalidApiKey,
    InvalidRequest,
    ModelNotFound,
    NoCapacity,
    WeftError,
)


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/chat/completions", Dialect.OPENAI),
        ("/v1/models", Dialect.OPENAI),
        ("/nowhere", Dialect.OPENAI),
        ("/v1/messages", Dialect.ANTHROPIC),
        ("/v1/messages?beta=true", Dialect.ANTHROPIC),
        ("/v1/messages/count_tokens", Dialect.ANTHROPIC),
        ("/v1/messagesx", Dialect.OPENAI),
        ("/api/chat", Dialect.OLLAMA),
        ("/api/tags?x", Dialect.OLLAMA),
        ("/api/blobs/sha256:0", Dialect.OLLAMA),
        ("/api/nope", Dialect.OLLAMA),
        ("/api/nodes", Dialect.WEFT),
        ("/api/models/a/load-status", Dialect.WEFT),
        ("/v1/rerank", Dialect.JINA),
        ("/v2/rerank", Dialect.COHERE),
        ("/weft.dialect.v1.OllamaService/Chat", Dialect.OLLAMA),
        ("/weft.dialect.v1.LocalAIService/Tokenize", Dialect.OPENAI),
    ],
)
def test_a_path_has_its_dialect(path: str, dialect: Dialect) -> None:
    assert dialect_of(path, {}) is dialect


def test_lists_are_in_the_words_of_who_asks() -> None:
    said = {"anthropic-version": "2023-06-01"}
    assert dialect_of("/v1/models", said) is dialect_of("/v1/models/a/b", said) is Dialect.ANTHROPIC
    assert dialect_of("/v1/chat/completions", said) is Dialect.OPENAI


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("x"), "invalid_request_error"),
        (InvalidApiKey("x"), "authentication_error"),
        (ModelNotFound("x"), "not_found_error"),
        (BodyTooLarge("x"), "request_too_large"),
        (NoCapacity("x"), "overloaded_error"),
    ],
)
def test_anthropic_tells_the_kind_of_failure(error: WeftError, kind: str) -> None:
    assert orjson.loads(error_body(Dialect.ANTHROPIC, error, "r-1")) == {
        "type": "error",
        "error": {"type": kind, "message": "x"},
        "request_id": "r-1",
    }


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (Dialect.OLLAMA, {"error": "x"}),
        (Dialect.JINA, {"detail": "x"}),
        (Dialect.COHERE, {"id": "r-1", "message": "x"}),
    ],
)
def test_others_tell_it_in_words(dialect: Dialect, body: dict[str, str]) -> None:
    assert orjson.loads(error_body(dialect, ModelNotFound("x"), "r-1")) == body


def test_ollama_tells_of_a_missing_model_in_the_words_that_clients_look_for() -> None:
    error = ModelNotFound("It does not exist.", metadata={"model": "llama3"})
    assert orjson.loads(error_body(Dialect.OLLAMA, error)) == {"error": "model 'llama3' not found"}
