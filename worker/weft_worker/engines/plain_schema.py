"""Leaves out of a schema what asks for nothing, and says in other words what an engine's own library does not know.

Generators of schemas (zod, pydantic, Go's) write much that holds for every value; the library refuses what it does not
know, wherever it stands.
"""

from collections.abc import Mapping
from typing import Any

from weft_worker.engines.schema_parts import rebuilt

# What is right whatever the value is.
_NOTHING_ASKED: Mapping[str, tuple[object, ...]] = {
    "uniqueItems": (False,),
    "propertyNames": ({}, True, {"type": "string"}),
    "dependentRequired": ({},),
    "dependentSchemas": ({},),
}
# Here `null` is data.
_DATA = ("const", "default")
# RFC 3986, without looking into what follows the scheme.
_URI = r"^[A-Za-z][A-Za-z0-9+.-]*:[!#$%&'()*+,./0-9:;=?@A-Z_a-z~-]*$"
# Without the leap seconds that the library lets every minute have.
_PLAIN_SECONDS = {"date-time": "^[^:]*:[0-9]{2}:[0-5]", "time": "^[0-9]{2}:[0-9]{2}:[0-5]"}
_DRAFTS = ("http://json-schema.org/draft-0", "https://json-schema.org/draft/20")


def plain(schema: Any) -> Any:
    """The same schema without what asks for nothing."""
    return rebuilt(schema, _drop_nothing)


def spelled_out(schema: Any) -> Any:
    """The same schema in words that every version of the library takes."""
    return rebuilt(schema, _spell_out)


def _drop_nothing(schema: dict[str, Any]) -> None:
    for key in [key for key, value in schema.items() if value is None and key not in _DATA]:
        del schema[key]
    for key, values in _NOTHING_ASKED.items():
        if any(type(schema.get(key)) is type(value) and schema[key] == value for value in values):
            del schema[key]
    if not str(schema.get("$schema", _DRAFTS[0])).startswith(_DRAFTS):
        del schema["$schema"]


def _spell_out(schema: dict[str, Any]) -> None:
    """Newer versions know what an address is, and those before refuse the whole schema."""
    kind, more = schema.get("format"), schema.get("allOf", [])
    pattern = _URI if kind == "uri" else _PLAIN_SECONDS.get(str(kind))
    if pattern is None or not isinstance(more, list):
        return
    if kind == "uri":
        del schema["format"]
    if "pattern" in schema:
        schema["allOf"] = [*more, {"pattern": pattern}]
    else:
        schema["pattern"] = pattern
