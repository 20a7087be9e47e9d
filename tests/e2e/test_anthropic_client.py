"""Anthropic's own client, with only its base URL and key changed."""

import base64
from collections.abc import Iterator
from typing import Any, Literal

import httpx
import pytest
from anthropic import (
    Anthropic,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    beta_tool,
)
from pydantic import BaseModel

from tests.e2e.sdk.shapes import (
    ANTHROPIC_ERROR,
    ANTHROPIC_MODEL,
    ANTHROPIC_MODELS,
    MESSAGE,
    MESSAGE_EVENT,
    TOKENS_COUNT,
)
from tests.e2e.stack import Stack

pytestmark = pytest.mark.e2e

MODEL = "weft-tiny"
ASK: Any = [{"role": "user", "content": "What is the capital of France?"}]
CITIES = ["Oslo"]
WEATHER: Any = {
    "name": "get_weather",
    "description": "Tells the weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": CITIES}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


class Place(BaseModel):
    """What a structured answer is."""

    number: int


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Anthropic]:
    with Anthropic(base_url=stack.url, api_key=stack.key, max_retries=0) as made:
        yield made


def asked(**fields: Any) -> Any:
    return {"model": MODEL, "max_tokens": 64, "messages": ASK, "extra_body": {"temperature": 0}, **fields}


def test_a_message_is_answered_as_the_library_says(client: Anthropic) -> None:
    raw = client.messages.with_raw_response.create(**asked(system="Be brief."))
    MESSAGE.check(raw.json())
    message = raw.parse()
    (block,) = message.content
    assert block.type == "text"
    assert (message.stop_reason, message.model, message.role) == ("end_turn", MODEL, "assistant")
    assert message.id.startswith("msg_")
    assert raw.headers["request-id"]
    assert raw.headers["content-type"] == "application/json"
    assert message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0) > 10
    assert message.usage.output_tokens > 1


def test_a_stream_says_the_same_in_its_events(client: Anthropic) -> None:
    (said,) = client.messages.create(**asked()).content
    assert said.type == "text"
    assert "Paris" in said.text
    with client.messages.stream(**asked()) as stream:
        assert "".join(stream.text_stream) == said.text
        final = stream.get_final_message()
    assert (final.stop_reason, final.usage.output_tokens > 1) == ("end_turn", True)
    assert final.usage.input_tokens + (final.usage.cache_read_input_tokens or 0) > 10
    events = list(client.messages.create(**asked(stream=True)))
    for event in events:
        MESSAGE_EVENT.check(event.to_dict())
    names = [event.type for event in events]
    assert names[:2] == ["message_start", "content_block_start"]
    assert set(names[2:-3]) == {"content_block_delta"}
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_every_event_has_its_name_on_the_wire(stack: Stack) -> None:
    headers = {"x-api-key": stack.key, "anthropic-version": "2023-06-01"}
    body = {"model": MODEL, "max_tokens": 4, "messages": ASK, "stream": True}
    told = httpx.post(f"{stack.url}/v1/messages", json=body, headers=headers, timeout=30)
    assert told.headers["content-type"].startswith("text/event-stream")
    names = [line.removeprefix("event: ") for line in told.text.splitlines() if line.startswith("event: ")]
    assert names[:4] == ["message_start", "content_block_start", "ping", "content_block_delta"]
    assert names[-1] == "message_stop"
    assert told.text.endswith("\n\n")


def test_the_stop_sequence_that_ended_an_answer_is_told(client: Anthropic) -> None:
    (said,) = client.messages.create(**asked()).content
    assert said.type == "text"
    at = said.text.index("Paris")
    stop = said.text[at + 2 : at + 8]
    message = client.messages.create(**asked(stop_sequences=["never said", stop]))
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", stop)
    (cut,) = message.content
    assert cut.type == "text"
    assert cut.text == said.text[: said.text.index(stop)]
    short = client.messages.create(**asked(max_tokens=1))
    assert (short.stop_reason, short.usage.output_tokens) == ("max_tokens", 1)


def test_a_tool_is_called_and_what_it_said_is_read(client: Anthropic) -> None:
    turns = [{"role": "user", "content": "What is the weather?"}]
    choice = {"type": "any", "disable_parallel_tool_use": True}
    with client.messages.stream(**asked(messages=turns, tools=[WEATHER], tool_choice=choice)) as stream:
        streamed = stream.get_final_message()
    raw = client.messages.with_raw_response.create(
        **asked(messages=turns, tools=[WEATHER], tool_choice=choice)
    )
    MESSAGE.check(raw.json())
    message = raw.parse()
    for each in (streamed, message):
        (call,) = [block for block in each.content if block.type == "tool_use"]
        assert (call.name, call.input, each.stop_reason) == ("get_weather", {"city": "Oslo"}, "tool_use")
        assert call.id.startswith("toolu_")
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "It rains.", "is_error": False}
        after = [*turns, each.to_param(), {"role": "user", "content": [result]}]
        answer = client.messages.create(**asked(messages=after, tools=[WEATHER]))
        assert answer.stop_reason in ("end_turn", "max_tokens", "tool_use")


def test_a_tool_runner_goes_on_with_what_its_tools_said(client: Anthropic) -> None:
    seen: list[str] = []

    def get_weather(city: Literal["Oslo"]) -> str:
        """Tells the weather of a city."""
        seen.append(city)
        return "Rain."

    choice: Any = {"type": "tool", "name": "get_weather"}
    tools = [beta_tool(get_weather)]
    runner = client.beta.messages.tool_runner(**asked(tools=tools, tool_choice=choice, max_iterations=2))
    assert [message.stop_reason for message in runner] == ["tool_use", "tool_use"]
    assert seen[0] == CITIES[0]


def test_an_answer_is_parsed_by_its_schema(client: Anthropic) -> None:
    message = client.messages.parse(**asked(output_format=Place, max_tokens=200))
    assert message.parsed_output is not None
    assert isinstance(message.parsed_output.number, int)


def test_betas_are_asked_on_the_same_path(client: Anthropic) -> None:
    message = client.beta.messages.create(**asked(betas=["something-2026-01-01"]))
    assert message.content[0].type == "text"


def test_tokens_are_counted_as_they_are_used(client: Anthropic) -> None:
    fields: Any = {"model": MODEL, "messages": ASK, "system": "Be brief.", "tools": [WEATHER]}
    raw = client.messages.with_raw_response.count_tokens(**fields)
    TOKENS_COUNT.check(raw.json())
    usage = client.messages.create(**fields, max_tokens=1).usage
    assert raw.parse().input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_models_are_told_in_both_words(client: Anthropic, stack: Stack) -> None:
    raw = client.models.with_raw_response.list(limit=1)
    ANTHROPIC_MODELS.check(raw.json())
    assert MODEL in [model.id for model in client.models.list(limit=1)], "pages follow each other"
    one = client.models.with_raw_response.retrieve(MODEL)
    ANTHROPIC_MODEL.check(one.json())
    with pytest.raises(NotFoundError) as caught:
        client.models.retrieve("nobody")
    ANTHROPIC_ERROR.check(caught.value.body)
    with pytest.raises(BadRequestError):
        client.models.list(after_id="nobody")
    plain = httpx.get(f"{stack.url}/v1/models", headers={"x-api-key": stack.key})
    assert plain.json()["object"] == "list"


@pytest.mark.parametrize(
    ("fields", "kind", "type_"),
    [
        ({"model": "nobody"}, NotFoundError, "not_found_error"),
        ({"max_tokens": -1}, BadRequestError, "invalid_request_error"),
        ({"stop_sequences": [""]}, BadRequestError, "invalid_request_error"),
        (
            {"messages": [{"role": "user", "content": "hello " * 20_000}]},
            BadRequestError,
            "invalid_request_error",
        ),
        (
            {"messages": [*ASK, {"role": "assistant", "content": "It is"}]},
            BadRequestError,
            "invalid_request_error",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_has_the_librarys_shape(
    client: Anthropic, fields: Any, kind: type[BadRequestError], type_: str, stream: bool
) -> None:
    with pytest.raises(kind) as caught:
        client.messages.create(**asked(stream=stream, **fields))
    error = caught.value
    ANTHROPIC_ERROR.check(error.body)
    assert isinstance(error.body, dict)
    assert error.type == type_
    assert error.body["request_id"] == error.request_id


def test_a_prompt_that_is_too_long_is_told_so_that_clients_shorten_it(client: Anthropic) -> None:
    with pytest.raises(BadRequestError, match=r"prompt is too long: \d+ tokens > \d+ maximum"):
        client.messages.create(**asked(messages=[{"role": "user", "content": "hello " * 3000}]))


def test_a_wrong_key_is_told_in_anthropics_words(stack: Stack) -> None:
    with Anthropic(base_url=stack.url, api_key="wrong", max_retries=0) as client:
        with pytest.raises(AuthenticationError) as caught:
            client.messages.create(**asked())
        ANTHROPIC_ERROR.check(caught.value.body)
        with pytest.raises(AuthenticationError) as caught:
            client.models.list()
        ANTHROPIC_ERROR.check(caught.value.body)


def test_a_key_may_be_a_bearers(stack: Stack) -> None:
    with Anthropic(base_url=stack.url, auth_token=stack.key, api_key=None, max_retries=0) as client:
        assert client.messages.create(**asked(max_tokens=1)).content


def test_another_version_is_refused(stack: Stack) -> None:
    headers = {"x-api-key": stack.key, "anthropic-version": "2023-01-01"}
    body = {"model": MODEL, "max_tokens": 1, "messages": ASK}
    told = httpx.post(f"{stack.url}/v1/messages", json=body, headers=headers, timeout=30)
    assert told.status_code == 400
    ANTHROPIC_ERROR.check(told.json())
    del headers["anthropic-version"]
    assert httpx.post(f"{stack.url}/v1/messages", json=body, headers=headers, timeout=30).status_code == 200


def test_a_model_that_does_not_see_says_so(client: Anthropic) -> None:
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x02\0\0\0\x03" + bytes(20)
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png).decode()}
    with pytest.raises(BadRequestError, match="image"):
        client.messages.create(
            **asked(messages=[{"role": "user", "content": [{"type": "image", "source": source}]}])
        )
