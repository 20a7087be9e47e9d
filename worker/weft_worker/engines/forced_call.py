"""A call of a tool that has to be: the answer is held to one JSON object, whose text is told as the call that it is.

Left to a library's own grammar a model may talk before it calls, and a small one for ever.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from weft_worker.engines.base import Delta, Tool, ToolCallDelta, Tools

_HEAD, _MIDDLE = '{"name": ', ', "arguments": '


def call_schema(offered: Tools) -> str:
    """The schema of a call of one of the tools, or of the one that has to be called."""
    tools = [tool for tool in offered.tools if offered.name in ("", tool.name)]
    return json.dumps({"anyOf": [_one(tool, f"/anyOf/{index}") for index, tool in enumerate(tools)]})


def _one(tool: Tool, place: str) -> dict[str, Any]:
    # Without parameters, a tool takes none, as OpenAI says.
    parameters = {"type": "object", **json.loads(tool.parameters or '{"properties": {}}')}
    # It would be what references are relative to.
    parameters.pop("$id", None)
    if "properties" in parameters:
        # Nobody reads what a tool does not know.
        parameters = {"additionalProperties": False, **parameters}
    return {
        "type": "object",
        "properties": {
            "name": {"const": tool.name},
            "arguments": _moved(parameters, f"{place}/properties/arguments"),
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(schema: Any, place: str) -> Any:
    """The same where it lies deeper: what it refers to within itself has moved along."""
    if isinstance(schema, Mapping):
        return {key: _moved_value(key, value, place) for key, value in schema.items()}
    if isinstance(schema, Sequence) and not isinstance(schema, str):
        return [_moved(value, place) for value in schema]
    return schema


def _moved_value(key: str, value: Any, place: str) -> Any:
    if key in ("enum", "const", "default", "examples"):
        return value  # data, whatever it looks like
    if key == "$ref" and isinstance(value, str) and (value == "#" or value.startswith("#/")):
        return f"#{place}{value[1:]}"
    return _moved(value, place)


class ForcedCall:
    """Makes parts of a call out of the text of such an object; state: the text that is not told yet, the arguments that
    are, and whether the name is.
    """

    def __init__(self) -> None:
        self._text = ""
        self._arguments: list[str] = []
        self._is_named = False

    def read(self, delta: Delta) -> list[ToolCallDelta]:
        """Tell what is known by now; the brace that closes the object is never told."""
        self._text += delta.text
        told: list[ToolCallDelta] = []
        if not self._is_named:
            name = self._name()
            if name is None:
                return []
            self._is_named = True
            told.append(ToolCallDelta(0, f"call_{uuid4().hex}", name, "", delta.token_count))
        arguments, self._text = self._text[:-1], self._text[-1:]
        if arguments:
            self._arguments.append(arguments)
            told.append(ToolCallDelta(0, "", "", arguments, 0 if told else delta.token_count))
        return told

    def cut_off(self) -> list[ToolCallDelta]:
        """Tell what is held, where the answer may have ended before the object did."""
        held, self._text = self._text, ""
        if not self._is_named or not held or _is_json("".join(self._arguments)):
            return []
        return [ToolCallDelta(0, "", "", held, 0)]

    def _name(self) -> str | None:
        """Take the name and what stands around it off the text; None while it is not whole."""
        head, middle, rest = self._text.partition(_MIDDLE)
        if not middle or not rest:
            return None
        self._text = rest
        name: str = json.loads(head.removeprefix(_HEAD))
        return name


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
