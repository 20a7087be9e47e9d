"""Tools whose schemas the library cannot read, told in plain words: what is only shown need not be more.

It reads the schemas of all tools that are offered, for a grammar of its own, and refuses the whole request for one odd
one among them. What has to be kept is held by our grammar, from the schemas as they came.
"""

from collections.abc import Mapping
from typing import Any

from weft_common.errors import WeftError

# Of a schema that it cannot read, and of one of which it made a grammar that it cannot.
_UNREAD = ("JSON schema error at", "failed to parse grammar")
_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})


def is_of_schema(error: WeftError) -> bool:
    """Whether the library refused a request for the schema of a tool."""
    return any(words in error.message for words in _UNREAD)


def plain_parameters(parameters: Any) -> dict[str, object]:
    """The names of what a tool takes, with plain types and descriptions."""
    properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
    if not isinstance(properties, Mapping):
        return {"type": "object"}
    plain: dict[str, object] = {"type": "object"}
    plain["properties"] = {name: _plain(schema) for name, schema in properties.items()}
    required = parameters.get("required")
    if isinstance(required, list):
        plain["required"] = [name for name in required if isinstance(name, str) and name in properties]
    return plain


def _plain(schema: Any) -> dict[str, object]:
    if not isinstance(schema, Mapping):
        return {}
    told = {key: schema.get(key) for key in ("type", "description")}
    plain: dict[str, object] = {}
    if isinstance(told["type"], str) and told["type"] in _TYPES:
        plain["type"] = told["type"]
    if isinstance(told["description"], str):
        plain["description"] = told["description"]
    return plain
