"""OpenAI's error body, exact for each kind of failure."""

import orjson
import pytest

from weft_common.dialect_errors import openai_error_body
from weft_common.errors import (
    BY_REASON,
    BodyTooLarge,
    ContextLengthExceeded,
    EngineFailed,
    FieldViolation,
    InternalError,
    InvalidApiKey,
    InvalidRequest,
    ModelLoading,
    ModelNotFound,
    ReplicaFull,
    UnknownPath,
    WeftError,
)


def _error(error: WeftError) -> dict[str, object]:
    body = orjson.loads(openai_error_body(error))
    assert list(body) == ["error"]
    assert list(body["error"]) == ["message", "type", "param", "code"]
    return body["error"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (InvalidRequest("No."), "invalid_request_error", None),
        (ContextLengthExceeded("No."), "invalid_request_error", "context_length_exceeded"),
        (ModelNotFound("No."), "invalid_request_error", "model_not_found"),
        (UnknownPath("No."), "invalid_request_error", "unknown_url"),
        (BodyTooLarge("No."), "invalid_request_error", "body_too_large"),
        (InvalidApiKey("No."), "invalid_request_error", "invalid_api_key"),
        (ReplicaFull("No."), "rate_limit_error", "replica_full"),
        (ModelLoading("No."), "server_error", "model_loading"),
        (EngineFailed("No."), "server_error", "engine_failed"),
        (InternalError("No."), "server_error", "internal_error"),
    ],
)
def test_body_has_the_type_and_code_that_clients_look_for(
    error: WeftError, kind: str, code: str | None
) -> None:
    assert _error(error) == {"message": "No.", "type": kind, "param": None, "code": code}


@pytest.mark.parametrize("kind", BY_REASON.values())
def test_every_failure_has_a_body(kind: type[WeftError]) -> None:
    assert _error(kind("Why."))["message"] == "Why."


def test_param_is_the_first_violation() -> None:
    violations = [FieldViolation("max_tokens", "Not an integer."), FieldViolation("n", "Must be 1.")]
    error = _error(InvalidRequest("max_tokens: Not an integer.", violations=violations))
    assert error["param"] == "max_tokens"


def test_an_engines_long_words_are_cut() -> None:
    assert len(openai_error_body(EngineFailed("é" * 100_000))) < 10_000
