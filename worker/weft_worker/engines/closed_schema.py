"""Closes the objects of a schema that leaves open what else they may have: a model would invent properties.

So do llama.cpp's own converter and those of others; whoever wants more says `additionalProperties: true`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from weft_worker.engines.schema_parts import rebuilt, within

# Beside one of these an object's properties are not all that it may have.
_SAYS_MORE = (
    "additionalProperties",
    "unevaluatedProperties",
    "patternProperties",
    "propertyNames",
    "dependentSchemas",
    "anyOf",
    "oneOf",
    "allOf",
    "if",
    "not",
    "$ref",
)


def closed(schema: Any) -> Any:
    """The same schema, but that objects have the properties that are named and no others.

    Where parts of one object are told in several places, all of it stays as it is: nobody knows what belongs together.
    """
    return schema if any(map(_is_put_together, within(schema))) else rebuilt(schema, _close)


def _close(schema: dict[str, Any]) -> None:
    if isinstance(schema.get("properties"), Mapping) and not any(key in schema for key in _SAYS_MORE):
        schema["additionalProperties"] = False


def _is_put_together(schema: Mapping[str, Any]) -> bool:
    """Whether an object is told here and elsewhere, too."""
    parts = schema.get("allOf")
    if isinstance(parts, Sequence) and (len(parts) > 1 or "properties" in schema):
        return True
    return "properties" in schema and any(key in schema for key in ("$ref", "anyOf", "oneOf", "if"))
