"""Forms of answers are refused before anybody waits for a slot, with the field that the caller knows."""

import json

import pytest

from weft_common.errors import InvalidRequest
from weft_worker.backend.forms import check_forms
from weft_worker.engines.base import (
    Form,
    Generation,
    GrammarForm,
    JsonForm,
    Message,
    Role,
    Tool,
    ToolMode,
    Tools,
)

ASKED = (Message(Role.USER, "Hi"),)
BAD = json.dumps({"type": "object", "properties": {"a": {"not": {}}}})
GOOD = json.dumps({"type": "object", "properties": {"a": {"maximum": 10**30, "type": "integer"}}})
NESTED = json.dumps({"$id": "https://x/y", "$ref": "#/$defs/b", "$defs": {"b": {"type": "object"}}})


def asked(form: Form | None = None, parameters: str = "", mode: ToolMode | None = None) -> Generation:
    tools = None if mode is None else Tools((Tool("plain"), Tool("f", "", parameters)), mode)
    return Generation(ASKED, form=form, tools=tools)


@pytest.mark.parametrize(
    "generation",
    [
        asked(),
        asked(JsonForm(GOOD)),
        asked(GrammarForm('root ::= "x"')),
        asked(None, GOOD, ToolMode.REQUIRED),
        asked(None, NESTED, ToolMode.REQUIRED),
        asked(None, BAD, ToolMode.NONE),
        asked(JsonForm(GOOD), GOOD, ToolMode.NONE),
        asked(JsonForm(GOOD), GOOD, ToolMode.AUTO),
        asked(JsonForm(GOOD), GOOD, ToolMode.REQUIRED),
        asked(None, BAD, ToolMode.AUTO),
    ],
)
async def test_what_can_be_kept_passes(generation: Generation) -> None:
    await check_forms(generation, "response_format")


@pytest.mark.parametrize(
    ("generation", "field"),
    [
        (asked(JsonForm(BAD)), "response_format"),
        (asked(JsonForm('{"$ref": "#"}')), "response_format"),
        (asked(GrammarForm("%llguidance {}\nstart: nope")), "grammar"),
        (asked(GrammarForm('root ::= ("a"? "b"?){200}')), "grammar"),
        (asked(JsonForm('{"const": -9223372036854775808}')), "response_format"),
        (asked(None, '{"properties": {"a": {"const": -9223372036854775808}}}', ToolMode.REQUIRED), "tools.1"),
        (asked(JsonForm(BAD), GOOD, ToolMode.AUTO), "response_format"),
        (asked(JsonForm(GOOD), BAD, ToolMode.AUTO), "tools.1"),
        (asked(GrammarForm('root ::= "x"'), GOOD, ToolMode.AUTO), "grammar"),
        (asked(None, BAD, ToolMode.REQUIRED), "tools.1"),
    ],
)
async def test_what_cannot_is_named(generation: Generation, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await check_forms(generation, "response_format")
    assert caught.value.violations[0].field == field
