"""A call that has to be: its schema, and its text as it comes."""

import json

import jsonschema
import pytest

from weft_worker.engines.base import Delta, Tool, ToolMode, Tools
from weft_worker.engines.forced_call import ForcedCall, call_schema
from weft_worker.engines.json_form import check_schema

TREE = {
    "type": "object",
    "properties": {"root": {"$ref": "#/$defs/node"}},
    "required": ["root"],
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
        }
    },
}
TOOLS = (Tool("plain"), Tool("tree", "", json.dumps(TREE)))


def test_a_call_is_of_one_of_the_tools_with_what_it_takes_wherever_its_schema_refers_to() -> None:
    schema = call_schema(Tools(TOOLS, ToolMode.REQUIRED))
    check_schema(schema, "tools")
    for good in (
        {"name": "plain", "arguments": {}},
        {"name": "tree", "arguments": {"root": {"next": {"next": None}}}},
    ):
        jsonschema.validate(good, json.loads(schema))
    for bad in (
        {"name": "plain", "arguments": {"x": 1}},
        {"name": "tree", "arguments": {}},
        {"name": "tree", "arguments": {"root": {"next": 5}}},
        {"name": "x"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, json.loads(schema))


def test_the_one_that_has_to_be_called_is_the_only_one() -> None:
    schema = json.loads(call_schema(Tools(TOOLS, ToolMode.REQUIRED, "plain")))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "tree", "arguments": {"root": {}}}, schema)


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_the_call_is_told_as_its_text_comes_in_whatever_pieces(size: int) -> None:
    text = '{"name": "f", "arguments": {"a": ", \\"arguments\\": ", "b": {}}}'
    call = ForcedCall()
    told = [part for at in range(0, len(text), size) for part in call.read(Delta(text[at : at + size]))]
    assert (told[0].name, bool(told[0].id)) == ("f", True)
    assert all(not part.id and not part.name for part in told[1:])
    assert json.loads("".join(part.arguments for part in told)) == {"a": ', "arguments": ', "b": {}}


def test_a_call_that_is_cut_off_is_told_to_its_last_letter_and_one_that_is_whole_no_further() -> None:
    text = '{"name": "f", "arguments": {"a": "bc"}}'
    begin = text.index('{"a"')
    for end in range(begin + 1, len(text) + 1):
        call = ForcedCall()
        told = [*call.read(Delta(text[:end])), *call.cut_off()]
        assert "".join(part.arguments for part in told) == text[begin : min(end, len(text) - 1)]
    assert ForcedCall().cut_off() == []
