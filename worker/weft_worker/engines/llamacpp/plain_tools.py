"""Tools whose schemas the library cannot read, told in plain words: what is only shown need not be more.

It reads the schemas of all tools that are offered, for a grammar of its own, and refuses the whole request for one odd
one among them. What has to be kept is held by our grammar, from the schemas as they came.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from weft_common.errors import WeftError
from weft_worker.engines.schema_bounds import bounded

# Of a schema that it cannot read, and of one of which it made a grammar that it cannot.
_UNREAD = ("JSON schema error at", "failed to parse grammar")
# Large numbers, patterns, and letters that may spell either.
_LARGE = re.compile(r"""[0-9]{5}|[0-9][eE]|"pattern|\\u""")
_MOST_REFERENCES = 100
_KEPT_BYTES = 1 << 14
_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})


def is_of_schema(error: WeftError) -> bool:
    """Whether the library refused a request for the schema of a tool."""
    return any(words in error.message for words in _UNREAD)


def may_be_endless(parameters: str) -> bool:
    """Whether the library's grammar of a schema could be without end, or nearly so; looks at its text alone.

    Clients offer dozens of tools with each request, and hardly one of them is such.
    """
    return _LARGE.search(parameters) is not None or parameters.count("$ref") > _MOST_REFERENCES


def readable(parameters: str) -> Any:
    """A schema without what the library could not read to the end; not to be changed, as it may be given again."""
    return _readable(parameters) if len(parameters) <= _KEPT_BYTES else _readable.__wrapped__(parameters)


@lru_cache(maxsize=128)
def _readable(parameters: str) -> Any:
    schema = orjson.loads(parameters)
    if not isinstance(schema, dict):
        return schema
    try:
        return bounded(schema, leaves_out=True)
    except (ValueError, RecursionError):
        return plain_parameters(schema)


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
