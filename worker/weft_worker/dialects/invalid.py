"""Turns what pydantic found wrong with a body into InvalidRequest, naming the fields."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from weft_common.errors import FieldViolation, InvalidRequest

FIELD = "weft_field"
"""Key in the context of a validation error."""
_MAX_VIOLATIONS = 8
B = TypeVar("B", bound=BaseModel)


def parse_body(kind: type[B], body: bytes) -> B:
    """Read a JSON body; raises InvalidRequest that names the fields."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise invalid_request(error) from error


def invalid_request(error: ValidationError) -> InvalidRequest:
    """Describe the error without the values that the client sent, which may be prompts."""
    found = error.errors(include_url=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return InvalidRequest(f"The body of the request could not be parsed as JSON: {found[0]['msg']}.")
    violations = [FieldViolation(_path(detail), detail["msg"]) for detail in found[:_MAX_VIOLATIONS]]
    if not violations[0].field:
        return InvalidRequest(f"The body of the request cannot be used: {violations[0].description}.")
    message = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
    return InvalidRequest(f"{message}.", violations=violations)


def _path(detail: ErrorDetails) -> str:
    """Where it is; what a validator of a whole object found wrong with one field says so in its context."""
    field = detail.get("ctx", {}).get(FIELD)
    return ".".join(map(str, (*detail["loc"], field) if field else detail["loc"]))
