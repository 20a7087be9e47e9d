"""The body of a message: what is taken, what becomes of it, and which field a refusal names."""

import json
from base64 import b64encode
from typing import Any

import orjson
import pytest

from weft_common.dialect_errors import error_body
from weft_common.dialects import Dialect
from weft_common.errors import InvalidRequest
from weft_worker.dialects.anthropic.message_request import (
    MessageRequest,
    parse_count_request,
    parse_message_request,
)
from weft_worker.engines.abilities import Conversation
from weft_worker.engines.base import (
    Effort,
    Generation,
    Image,
    JsonForm,
    Message,
    Role,
    Sampling,
    Thinking,
    Tool,
    ToolCall,
    ToolMode,
    Tools,
)

USER = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "get_weather", "description": "Tells the weather.", "input_schema": SCHEMA}
WEATHER_TOOL = Tool("get_weather", "Tells the weather.", orjson.dumps(SCHEMA).decode())
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x02\0\0\0\x03" + bytes(20)
SEEN = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": b64encode(PNG).decode()},
}


def use(id_: str = "toolu_1", **given: object) -> dict[str, object]:
    return {"type": "tool_use", "id": id_, "name": "get_weather", "input": given}


def result(content: object = None, id_: str = "toolu_1", **fields: object) -> dict[str, object]:
    said = {} if content is None else {"content": content}
    return {"type": "tool_result", "tool_use_id": id_, **said, **fields}


def text(said: str, **fields: object) -> dict[str, object]:
    return {"type": "text", "text": said, **fields}


def called(*results: object) -> list[object]:
    return [USER, {"role": "assistant", "content": [use()]}, {"role": "user", "content": results}]


def _parse(**fields: Any) -> MessageRequest:
    # Not by orjson, which has no large numbers.
    return parse_message_request(
        json.dumps({"model": "m", "max_tokens": 9, "messages": [USER], **fields}).encode()
    )


def _generation(**fields: Any) -> Generation:
    return _parse(**fields).to_generation()


def _messages(*turns: object, **fields: Any) -> tuple[Message, ...]:
    return _generation(messages=turns, **fields).messages


def _refused(**fields: Any) -> tuple[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        _parse(**fields)
    violation = caught.value.violations[0]
    assert violation.field in caught.value.message
    return violation.field, violation.description


def test_the_smallest_body_leaves_everything_to_the_engine() -> None:
    request = _parse()
    assert request.to_generation() == Generation(
        (Message(Role.USER, "Hi"),), Sampling(max_tokens=9), thinking=Thinking(enabled=False)
    )
    assert (request.model, request.stream, request.tells_nothing) == ("m", None, False)


def test_sampling_is_passed_on() -> None:
    asked = {"temperature": 0, "top_p": 0.5, "top_k": 7, "stop_sequences": ["END", "\n\n"]}
    assert _generation(**asked).sampling == Sampling(
        temperature=0, top_p=0.5, top_k=7, max_tokens=9, stop=("END", "\n\n")
    )


def test_what_changes_no_answer_is_left_alone() -> None:
    assert (
        _generation(
            metadata={"user_id": "u"},
            service_tier="standard_only",
            speed="fast",
            cache_control={"type": "ephemeral", "ttl": "1h"},
            context_management={"edits": []},
            diagnostics={"previous_message_id": None},
            container=None,
            mcp_servers=[],
            something_new={"a": [1]},
        )
        == _generation()
    )


@pytest.mark.parametrize(
    "system", ["Be brief.", [text("Be "), text("brief.", cache_control={"type": "ephemeral"})]]
)
def test_instructions_stand_above_the_conversation(system: object) -> None:
    assert _messages(USER, system=system) == (Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Hi"))


def test_turns_of_one_side_that_follow_each_other_are_one() -> None:
    turns = [
        USER,
        {"role": "user", "content": [text(" there"), text("!")]},
        {"role": "assistant", "content": "Hello"},
        {"role": "assistant", "content": ", you."},
        {"role": "system", "content": "Be rude."},
        USER,
    ]
    assert _messages(*turns) == (
        Message(Role.USER, "Hi there!"),
        Message(Role.ASSISTANT, "Hello, you."),
        Message(Role.SYSTEM, "Be rude."),
        Message(Role.USER, "Hi"),
    )


def test_calls_and_what_tools_said_come_back() -> None:
    turns = [
        USER,
        {"role": "assistant", "content": [text("I look."), use("a", city="Ōsaka"), use("b", n=10**30)]},
        {
            "role": "user",
            "content": [text("And?"), result("rain", "b"), result([text("su"), text("n")], "a")],
        },
    ]
    assert _messages(*turns)[1:] == (
        Message(
            Role.ASSISTANT,
            "I look.",
            tool_calls=(
                ToolCall("a", "get_weather", '{"city": "Ōsaka"}'),
                ToolCall("b", "get_weather", f'{{"n": {10**30}}}'),
            ),
        ),
        Message(Role.TOOL, "rain", tool_call_id="b"),
        Message(Role.TOOL, "sun", tool_call_id="a"),
        Message(Role.USER, "And?"),
    )


def test_a_tool_may_say_nothing_and_may_fail() -> None:
    assert _messages(*called(result()))[-1] == Message(Role.TOOL, "", tool_call_id="toolu_1")
    failed = result("no such city", is_error=True)
    assert _messages(*called(failed))[-1] == Message(Role.TOOL, "Error: no such city", tool_call_id="toolu_1")


def test_what_a_tool_shows_is_shown_by_the_user() -> None:
    image = Image(PNG, "image/png")
    assert _messages(*called(result([text("a map"), SEEN]), text("Where?")))[-2:] == (
        Message(Role.TOOL, "a map", tool_call_id="toolu_1"),
        Message(Role.USER, "Where?", parts=(image, "Where?")),
    )


def test_images_keep_their_place() -> None:
    said = {"role": "user", "content": [text("Left: "), text("this. "), SEEN, text("Right?")]}
    assert _messages(said) == (
        Message(
            Role.USER,
            "Left: this. Right?",
            parts=("Left: this. ", Image(PNG, "image/png"), "Right?"),
        ),
    )


def test_a_tool_that_was_found_is_told_by_its_name() -> None:
    found = [text("Found:\n"), {"type": "tool_reference", "tool_name": "get_weather"}]
    assert _messages(*called(result(found)))[-1].content == "Found:\nTool: get_weather\n"


@pytest.mark.parametrize(
    "said",
    [
        {"type": "web_search_tool_result", "content": [{"type": "web_search_result", "url": "http://a"}]},
        {"type": "web_fetch_tool_result", "content": {"type": "web_fetch_result", "url": "http://a"}},
        {"type": "code_execution_tool_result", "content": {"type": "code_execution_result", "stdout": "1"}},
        {"type": "mcp_tool_result", "content": "1", "is_error": False},
    ],
    ids=lambda said: str(said["type"]),
)
def test_a_conversation_that_began_at_anthropic_goes_on_here(said: dict[str, object]) -> None:
    asked = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "a"}}
    before = [text("Let me look. "), asked, {**said, "tool_use_id": "srvtoolu_1"}, text("It is so.")]
    messages = _messages(USER, {"role": "assistant", "content": before}, USER)
    assert [(each.role, each.content) for each in messages] == [
        (Role.USER, "Hi"),
        (Role.ASSISTANT, "Let me look. It is so."),
        (Role.USER, "Hi"),
    ]


def test_documents_are_told_as_text() -> None:
    document = {
        "type": "document",
        "title": "T",
        "source": {"type": "text", "media_type": "text/plain", "data": "D"},
    }
    parts = {"type": "document", "context": "C", "source": {"type": "content", "content": [text("a"), SEEN]}}
    found = {"type": "search_result", "title": "R", "source": "http://r", "content": [text("b")]}
    (message,) = _messages({"role": "user", "content": [document, parts, found, text("?")]})
    assert message.content == "T\nD\n\nC\na\n\nR\nhttp://r\nb\n\n?"
    assert message.parts == ("T\nD\n\nC\na", Image(PNG, "image/png"), "\n\nR\nhttp://r\nb\n\n?")


@pytest.mark.parametrize(
    ("choice", "tools"),
    [
        (None, Tools((WEATHER_TOOL,))),
        ({"type": "auto", "disable_parallel_tool_use": True}, Tools((WEATHER_TOOL,), single_call=True)),
        ({"type": "any"}, Tools((WEATHER_TOOL,), ToolMode.REQUIRED)),
        ({"type": "tool", "name": "get_weather"}, Tools((WEATHER_TOOL,), ToolMode.REQUIRED, "get_weather")),
        ({"type": "none"}, Tools((WEATHER_TOOL,), ToolMode.NONE)),
    ],
)
def test_tools_are_offered_as_chosen(choice: object, tools: Tools) -> None:
    offered = [{**WEATHER, "type": "custom", "strict": True, "cache_control": None, "input_examples": []}]
    assert _generation(tools=offered, tool_choice=choice).tools == tools


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}, Thinking()),
        ({"thinking": {"type": "adaptive", "display": "summarized"}}, Thinking()),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}},
            Thinking(effort=Effort.HIGH),
        ),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, Thinking(enabled=False)),
        ({"thinking": {"type": "between_tools"}}, Thinking(enabled=False)),
    ],
)
def test_a_model_thinks_where_it_is_asked_to(fields: dict[str, Any], thinking: Thinking) -> None:
    assert _generation(**fields).thinking == thinking


def test_thoughts_come_back_and_may_be_unreadable() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "of another server"}
    hidden = {"type": "redacted_thinking", "data": "?"}
    turn = {"role": "assistant", "content": [thought, hidden, text("Yes.")]}
    assert _messages(USER, turn, USER)[1] == Message(Role.ASSISTANT, "Yes.", reasoning="Hm.")


def test_thoughts_are_told_unless_they_are_not_wanted() -> None:
    assert _parse().tells_thinking
    assert not _parse(thinking={"type": "adaptive", "display": "omitted"}).tells_thinking


@pytest.mark.parametrize("where", ["output_config", "output_format"])
def test_the_answer_keeps_a_schema(where: str) -> None:
    form = {"type": "json_schema", "schema": SCHEMA}
    asked = {"effort": "low", "format": form} if where == "output_config" else form
    request = _parse(**{where: asked})
    assert request.to_generation().form == JsonForm(orjson.dumps(SCHEMA).decode())
    assert request.form_field.startswith(where)


def test_no_tokens_are_asked_for_to_have_the_prompt_read() -> None:
    request = _parse(max_tokens=0)
    assert (request.tells_nothing, request.to_generation().sampling.max_tokens) == (True, 1)


REFUSED: dict[str, dict[str, Any]] = {
    "model": {"model": ""},
    "max_tokens": {"max_tokens": None},
    "messages": {"messages": []},
    "temperature": {"temperature": 1.1},
    "top_k": {"top_k": -1},
    "stop_sequences": {"stop_sequences": ["a"] * 129},
    "stop_sequences.0": {"stop_sequences": [""]},
    "messages.0.role": {"messages": [{"role": "tool", "content": "Hi"}]},
    "messages.0.content": {"messages": [{"role": "user", "content": []}]},
    "messages.0.content.0": {"messages": [{"role": "user", "content": [{"type": "sound"}]}]},
    "messages.0.content.0.text": {"messages": [{"role": "user", "content": ""}]},
    "messages.0.content.0.text.text": {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
    "messages.0.content.1": {"messages": [{"role": "user", "content": [text("a"), use()]}]},
    "messages.1.content.0": {"messages": [USER, {"role": "assistant", "content": [SEEN]}, USER]},
    "messages.0.content.2": {
        "messages": [{"role": "user", "content": [text("a"), text("b"), {"type": "server_tool_use"}]}]
    },
    "messages.0.content.0.container_upload.type": {
        "messages": [{"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}]
    },
    "messages.2.content.0.tool_result.content.0.tool_reference.tool_name": {
        "messages": called(result([{"type": "tool_reference"}]))
    },
    "messages.1": {"messages": [USER, {"role": "assistant", "content": [use()]}, USER]},
    "messages.2": {"messages": called(result(id_="toolu_2"), result())},
    "system.0.type": {"system": [SEEN]},
    "tools.0.name": {"tools": [{**WEATHER, "name": "a b"}]},
    "tools.0.type": {"tools": [{"type": "bash_20250124", "name": "bash"}]},
    "tools.0.input_schema": {"tools": [{"name": "a", "input_schema": {"type": "string"}}]},
    "tools": {"tools": [WEATHER, WEATHER]},
    "tool_choice": {"tool_choice": {"type": "any"}},
    "tool_choice.name": {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "b"}},
    "thinking.budget_tokens": {"thinking": {"type": "enabled", "budget_tokens": 1}},
    "thinking": {
        "max_tokens": 2000,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [WEATHER],
        "tool_choice": {"type": "any"},
    },
    "mcp_servers": {"mcp_servers": [{"url": "http://a"}]},
    "output_config.format.schema": {"output_config": {"format": {"type": "json_schema"}}},
    "output_config.effort": {"output_config": {"effort": "all"}},
    "service_tier": {"service_tier": "gold"},
    "stream": {"stream": "yes"},
    "thread": {
        "thread": {"type": "continue", "previous_message_id": "msg_1"},
        "messages": called(result())[2:],
    },
}


@pytest.mark.parametrize(("field", "fields"), REFUSED.items(), ids=REFUSED)
def test_a_refusal_names_the_field(field: str, fields: dict[str, Any]) -> None:
    assert _refused(**fields)[0] == field


@pytest.mark.parametrize(
    ("source", "field"),
    [
        ({"type": "url", "url": "https://a/b.png"}, "type"),
        ({"type": "file", "file_id": "f"}, "type"),
        ({"type": "base64", "media_type": "image/png"}, "data"),
        ({"type": "base64", "media_type": "image/png", "data": "?"}, "data"),
        ({"type": "base64", "media_type": "image/gif", "data": "R0lGODlhAQABAAAAACw="}, "data"),
        ({"type": "base64", "media_type": "image/jpeg", "data": b64encode(PNG).decode()}, "media_type"),
        ({"type": "base64", "data": "AAAA"}, "media_type"),
    ],
)
def test_a_refused_image_says_what_is_wrong_with_it(source: object, field: str) -> None:
    turn = {"role": "user", "content": [{"type": "image", "source": source}]}
    assert _refused(messages=[turn])[0] == f"messages.0.content.0.image.source.{field}"


@pytest.mark.parametrize(
    ("source", "field"),
    [
        ({"type": "base64", "media_type": "application/pdf", "data": "AAAA"}, "source.type"),
        ({"type": "url", "url": "http://a"}, "source.type"),
        ({"type": "text", "media_type": "text/plain"}, "source.data"),
        ({"type": "content"}, "source.content"),
    ],
)
def test_documents_that_are_no_text_are_refused(source: object, field: str) -> None:
    turn = {"role": "user", "content": [{"type": "document", "source": source}]}
    assert _refused(messages=[turn])[0] == f"messages.0.content.0.document.{field}"


def test_citations_are_refused() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "D"}
    document = {"type": "document", "source": source, "citations": {"enabled": True}}
    assert _refused(messages=[{"role": "user", "content": [document]}])[0] == (
        "messages.0.content.0.document.citations"
    )


def test_no_answer_is_begun_by_the_client() -> None:
    field, words = _refused(messages=[USER, {"role": "assistant", "content": "The answer is ("}])
    assert (field, "prefill" in words) == ("messages", True)


def test_images_are_bounded_together() -> None:
    field, words = _refused(messages=[{"role": "user", "content": [SEEN] * 65}])
    assert (field, words) == ("messages", "At most 64 images are taken")


def test_a_body_that_is_no_json_is_refused_without_its_words() -> None:
    with pytest.raises(InvalidRequest, match="parsed as JSON") as caught:
        parse_message_request(b'{"model": secret')
    assert "secret" not in caught.value.message


def test_a_conversation_is_counted_with_its_tools() -> None:
    body = {"model": "m", "messages": [USER], "system": "Be brief.", "tools": [WEATHER]}
    assert parse_count_request(orjson.dumps(body)).to_conversation() == Conversation(
        (Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Hi")),
        (WEATHER_TOOL,),
        Thinking(enabled=False),
    )
    thinking = body | {"thinking": {"type": "adaptive"}}
    assert parse_count_request(orjson.dumps(thinking)).to_conversation().thinking == Thinking()


def test_images_are_not_counted() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": [SEEN]}]}
    with pytest.raises(InvalidRequest, match="Images are not counted"):
        parse_count_request(orjson.dumps(body))


def test_very_many_small_pieces_make_one_message() -> None:
    many = 3_000
    calls = [use(f"toolu_{number}") for number in range(many)]
    waiting = [{"role": "user", "content": "a"}] * many
    answered = [result("x", f"toolu_{number}") for number in range(many)]
    turns = [
        USER,
        {"role": "assistant", "content": calls},
        *waiting,
        {"role": "user", "content": [*answered, SEEN]},
    ]
    *_, last = _messages(*turns)
    assert last.parts == ("a" * many, Image(PNG, "image/png"))


def test_a_thread_is_refused_in_the_words_that_tool_runners_read() -> None:
    for parse in (parse_message_request, parse_count_request):
        with pytest.raises(InvalidRequest) as caught:
            parse(
                orjson.dumps(
                    {"model": "m", "max_tokens": 1, "messages": [USER], "thread": {"type": "create"}}
                )
            )
        told = orjson.loads(error_body(Dialect.ANTHROPIC, caught.value))["error"]
        assert told["details"] == {"error_code": "thread_unsupported_request"}
        assert told["message"] == "thread: Threads are not kept here: send the whole conversation."
    assert _parse(thread=None).to_generation() == _parse().to_generation()


def test_agents_with_many_servers_offer_many_tools() -> None:
    tools = [{**WEATHER, "name": f"tool_{number}"} for number in range(1025)]
    offered = _parse(tools=tools[:1024]).to_generation().tools
    assert offered is not None
    assert len(offered.tools) == 1024
    assert _refused(tools=tools)[0] == "tools"
