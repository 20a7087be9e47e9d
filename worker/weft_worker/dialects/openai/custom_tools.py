"""Tools that take a text instead of JSON: to an engine they are tools with one argument, which is that text."""

from collections.abc import Mapping
from typing import Annotated

import orjson
from pydantic import Field, PlainValidator
from pydantic_core import PydanticCustomError

from weft_worker.dialects.openai.fields import Body, unsupported
from weft_worker.dialects.tools import TOOL_NAME, compact
from weft_worker.engines.base import Tool

Name = Annotated[str, Field(pattern=f"^{TOOL_NAME.pattern}$")]
_INPUT = "input"


class CustomTool(Body):
    """What the model may call with a text, of any form or after a regular expression."""

    name: Name
    description: str | None = None
    format: Annotated[dict[str, object] | None, PlainValidator(lambda form: _schema_of_text(form))] = None

    def to_tool(self) -> Tool:
        """Say the same in the words of engines."""
        schema = {
            "type": "object",
            "properties": {_INPUT: self.format or {"type": "string"}},
            "required": [_INPUT],
            "additionalProperties": False,
        }
        return Tool(self.name, self.description or "", compact(schema))


class CalledCustomTool(Body):
    """What the model called, and with which text."""

    name: str
    input: str


def input_arguments(text: str) -> str:
    """The arguments of a call with that text."""
    return compact({_INPUT: text})


def input_of(arguments: str) -> str:
    """The text of a call; what a model made up instead is told as it is, as is one that has no end."""
    try:
        read = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    text = read.get(_INPUT) if isinstance(read, dict) else None
    return text if isinstance(text, str) else arguments


def _schema_of_text(form: object) -> dict[str, object] | None:
    """Read the form of a text as the schema of a string; None permits any."""
    match form:
        case None | {"type": "text"}:
            return None
        case {"type": "grammar", "grammar": {"syntax": "regex", "definition": str(pattern)}}:
            return {"type": "string", "pattern": f"^(?:{pattern})$"}
        case {"type": "grammar", "grammar": Mapping()}:
            raise unsupported("Only grammars of the syntax 'regex' are supported")
    raise PydanticCustomError(
        "format", "Should be of type 'text', or of type 'grammar' with a regular expression"
    )
