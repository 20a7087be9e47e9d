"""What llama.cpp says in place of an answer, in our own words."""

from typing import Any

from weft_common.errors import (
    ContextLengthExceeded,
    EngineFailed,
    FieldViolation,
    InvalidRequest,
    WeftError,
)
from weft_worker.engines.base import Asked, Completion, GrammarForm
from weft_worker.engines.limits import messages_too_long, prompt_too_long, unknown_prompt_token

_BAD_GRAMMAR = "empty grammar stack"
_UNKNOWN_TOKENS = "invalid tokens"


def failure_of(error: Any, asked: Asked) -> WeftError:
    """Choose what to raise for its error object."""
    kind, message = str(error.get("type", "")), str(error.get("message", error))
    match kind:
        case "exceed_context_size_error":
            return _context_exceeded(error, message, asked)
        case "invalid_request_error" if isinstance(asked, Completion) and _UNKNOWN_TOKENS in message:
            return unknown_prompt_token(max(token for token in asked.prompt if isinstance(token, int)))
        case "invalid_request_error":
            return InvalidRequest(message)
        case _ if isinstance(asked.form, GrammarForm) and _BAD_GRAMMAR in message:
            words = "The grammar cannot be kept: nothing can follow, as where a range ends before it begins"
            return InvalidRequest(f"grammar: {words}.", violations=[FieldViolation("grammar", words)])
        case _:
            return EngineFailed(f"llama.cpp failed: {message}")


def _context_exceeded(error: Any, message: str, asked: Asked) -> WeftError:
    prompt, context = error.get("n_prompt_tokens"), error.get("n_ctx")
    if prompt and context and isinstance(asked, Completion):
        return prompt_too_long(asked, prompt, context)
    if prompt and context:
        return messages_too_long(prompt, context)
    return ContextLengthExceeded(message, violations=[FieldViolation("messages", message)])
