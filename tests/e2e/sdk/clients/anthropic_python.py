"""anthropic: `ANTHROPIC_BASE_URL` and `ANTHROPIC_API_KEY` are all that differs from Anthropic itself."""

from typing import Any, Literal

import anthropic
from anthropic import Anthropic, AsyncAnthropic
from pydantic import BaseModel

from tests.e2e.sdk.clients.calls import CAPITAL, CHAT, EYE, RED_PNG, STORY, THINKER, THOUGHT, Calls, raises

call = Calls()
ASK: list[Any] = [{"role": "user", "content": CAPITAL}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "Tells the weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
WEATHER_ASKED: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]


def asked(temperature: float = 0, **fields: Any) -> dict[str, Any]:
    """What to ask, greedy unless told otherwise; the library's newest models take no temperature, the API does."""
    body = {"temperature": temperature, **fields.pop("extra_body", {})}
    return {"model": CHAT, "max_tokens": 60, "messages": ASK, "extra_body": body, **fields}


def ask(client: Anthropic, **fields: Any) -> Any:
    """One message, buffered unless told otherwise."""
    return client.messages.create(**asked(**fields))


def text_of(message: Any) -> str:
    """What was said, without what was thought or called."""
    return "".join(block.text for block in message.content if block.type == "text")


@call("messages: a buffered answer with usage")
def message(client: Anthropic) -> None:
    answer = ask(client)
    assert "Paris" in text_of(answer)
    assert (answer.type, answer.role, answer.stop_reason) == ("message", "assistant", "end_turn")
    assert answer.usage.input_tokens > 0 < answer.usage.output_tokens
    assert answer.id.startswith("msg_")


@call("messages: a stream, whose events come in the documented order")
def message_stream(client: Anthropic) -> None:
    events = list(ask(client, stream=True))
    kinds = [event.type for event in events if event.type != "content_block_delta"]
    order = ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]
    assert kinds == order
    text = "".join(event.delta.text for event in events if event.type == "content_block_delta")
    assert text == text_of(ask(client))
    assert events[-2].delta.stop_reason == "end_turn"
    assert events[-2].usage.output_tokens > 0


@call("messages: the stream helper")
def message_stream_helper(client: Anthropic) -> None:
    with client.messages.stream(**asked()) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == text_of(final)
    assert "Paris" in text


@call("messages: the asynchronous client, buffered and streamed")
async def message_async(_: Anthropic) -> None:
    async with AsyncAnthropic() as client:
        whole = await client.messages.create(**asked())
        async with client.messages.stream(**asked()) as stream:
            text = await stream.get_final_text()
    assert text == text_of(whole)


@call("messages: system as a string and as blocks, earlier turns, cache_control")
def message_conversation(client: Anthropic) -> None:
    cached = {
        "type": "text",
        "text": "What is the capital of France?",
        "cache_control": {"type": "ephemeral"},
    }
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello! How can I help you today?"}]},
        {"role": "user", "content": [cached]},
    ]
    blocks = [{"type": "text", "text": "You are weft-tiny.", "cache_control": {"type": "ephemeral"}}]
    told = [
        text_of(ask(client, messages=messages, system=system)) for system in ("You are weft-tiny.", blocks)
    ]
    assert told[0] == told[1]
    assert "Paris" in told[0]


@call("messages: stop_sequences, and which of them it was")
def message_stop(client: Anthropic) -> None:
    whole = text_of(ask(client))
    for sequence in ("Paris", "ital of Fr"):
        answer = ask(client, stop_sequences=["nowhere", sequence])
        assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", sequence)
        assert text_of(answer) == whole.partition(sequence)[0]
        events = list(ask(client, stop_sequences=["nowhere", sequence], stream=True))
        assert (events[-2].delta.stop_reason, events[-2].delta.stop_sequence) == ("stop_sequence", sequence)


@call("messages: max_tokens")
def message_limit(client: Anthropic) -> None:
    answer = ask(client, max_tokens=2)
    assert (answer.stop_reason, answer.usage.output_tokens) == ("max_tokens", 2)


@call("messages: temperature, top_p and top_k")
def message_sampling(client: Anthropic) -> None:
    def told(temperature: float, **body: Any) -> str:
        return text_of(
            ask(
                client,
                messages=[{"role": "user", "content": STORY}],
                temperature=temperature,
                extra_body=body,
            )
        )

    assert told(1, top_k=1) == told(0) == told(1, top_p=0.0001)


@call("messages: metadata and service_tier")
def message_tolerated(client: Anthropic) -> None:
    answer = ask(
        client, metadata={"user_id": "u-1"}, service_tier="auto", extra_body={"nobody_knows_this": [1]}
    )
    assert "Paris" in text_of(answer)


def called(answer: Any) -> Any:
    """The one call of a tool in an answer."""
    assert answer.stop_reason == "tool_use"
    (only,) = [block for block in answer.content if block.type == "tool_use"]
    return only


@call("messages: a round trip with a tool, buffered")
def message_tools(client: Anthropic) -> None:
    answer = ask(client, messages=WEATHER_ASKED, tools=[WEATHER])
    only = called(answer)
    assert (only.name, only.input) == ("get_weather", {"city": "Paris"})
    for content in ("sunny", [{"type": "text", "text": "sunny"}]):
        result = {"type": "tool_result", "tool_use_id": only.id, "content": content}
        turns = [answer.to_param(), {"role": "user", "content": [result]}]
        last = ask(client, messages=[*WEATHER_ASKED, *turns], tools=[WEATHER])
        assert last.stop_reason == "end_turn"
        assert "sunny" in text_of(last)


@call("messages: a tool that failed (is_error)")
def message_tool_error(client: Anthropic) -> None:
    answer = ask(client, messages=WEATHER_ASKED, tools=[WEATHER])
    result = {
        "type": "tool_result",
        "tool_use_id": called(answer).id,
        "content": "no such city",
        "is_error": True,
    }
    messages = [*WEATHER_ASKED, answer.to_param(), {"role": "user", "content": [result]}]
    assert text_of(ask(client, messages=messages, tools=[WEATHER]))


@call("messages: a streamed call of a tool (input_json_delta)")
def message_tools_stream(client: Anthropic) -> None:
    with client.messages.stream(**asked(messages=WEATHER_ASKED, tools=[WEATHER])) as stream:
        kinds = [event.type for event in stream]
        only = called(stream.get_final_message())
    assert "input_json" in kinds
    assert (only.name, only.input) == ("get_weather", {"city": "Paris"})


@call("messages: tool_choice auto, any, tool and none; disable_parallel_tool_use")
def message_tool_choice(client: Anthropic) -> None:
    def chosen(**choice: Any) -> Any:
        return ask(client, tools=[WEATHER], tool_choice=choice)

    assert "Paris" in text_of(chosen(type="none"))
    assert chosen(type="auto", disable_parallel_tool_use=True).stop_reason
    for choice in (
        {"type": "any"},
        {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True},
    ):
        assert list(called(chosen(**choice)).input) == ["city"]


@call("messages: an image in base64")
def message_image(client: Anthropic) -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": RED_PNG}}
    words = {"type": "text", "text": "What is this?"}

    def input_tokens(*content: Any) -> int:
        messages = [{"role": "user", "content": content}]
        usage = ask(client, model=EYE, messages=messages, max_tokens=4).usage
        count = usage.input_tokens + (usage.cache_read_input_tokens or 0)
        assert isinstance(count, int)
        return count

    assert input_tokens(picture, words) > input_tokens(words)


@call("messages: thinking, buffered, streamed, and handed back")
def message_thinking(client: Anthropic) -> None:
    messages: list[Any] = [{"role": "user", "content": THOUGHT}]
    thinking = {"type": "enabled", "budget_tokens": 1024}
    fields: Any = {"model": THINKER, "messages": messages, "max_tokens": 1600, "thinking": thinking}
    answer = ask(client, **fields)
    thought = answer.content[0]
    assert (thought.type, thought.thinking.strip(), bool(thought.signature)) == ("thinking", "hm", True)
    assert text_of(answer)
    assert "<think>" not in text_of(answer)
    with client.messages.stream(**asked(**fields)) as stream:
        kinds = {event.type for event in stream}
        assert stream.get_final_message().content[0].thinking == thought.thinking
    assert "thinking" in kinds
    again = [*messages, answer.to_param(), *messages]
    assert ask(client, **{**fields, "messages": again}).content


class Country(BaseModel):
    """What `parse` makes an answer of."""

    continent: Literal["Europe", "Asia"]
    coast: bool


@call("messages: structured output by parse (output_config.format)")
def message_parse(client: Anthropic) -> None:
    answer = client.messages.parse(**asked(), output_format=Country)
    assert isinstance(answer.parsed_output, Country)


@call("messages: the beta client, with a beta named")
def message_beta(client: Anthropic) -> None:
    answer: Any = client.beta.messages.create(**asked(), betas=["token-efficient-tools-2025-02-19"])
    assert "Paris" in text_of(answer)


@call("count_tokens: as many as a message takes, with system and tools")
def count_tokens(client: Anthropic) -> None:
    fields: Any = {"model": CHAT, "messages": ASK, "system": "You are weft-tiny.", "tools": [WEATHER]}
    counted = client.messages.count_tokens(**fields).input_tokens
    usage = client.messages.create(**fields, max_tokens=1).usage
    read = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    assert counted == usage.input_tokens + read


@call("models: list and retrieve")
def models(client: Anthropic) -> None:
    assert CHAT in {model.id for model in client.models.list()}
    model = client.models.retrieve(CHAT)
    assert (model.id, model.type, bool(model.display_name)) == (CHAT, "model", True)


@call("errors: wrong key, unknown model, wrong value, each as the library's own class, with the request's id")
def errors(client: Anthropic) -> None:
    stranger = raises(anthropic.AuthenticationError, lambda: ask(client.with_options(api_key="sk-wrong")))
    assert stranger.type == "authentication_error"
    missing = raises(anthropic.NotFoundError, lambda: ask(client, model="claude-9"))
    assert missing.type == "not_found_error"
    wrong = raises(anthropic.BadRequestError, lambda: ask(client, temperature=7))
    assert (wrong.type, "temperature" in wrong.message) == ("invalid_request_error", True)
    for error in (stranger, missing, wrong):
        assert error.request_id == error.body["request_id"]


@call("raw answers: request-id")
def headers(client: Anthropic) -> None:
    told = client.messages.with_raw_response.create(**asked())
    assert told.headers["request-id"] == told.parse()._request_id


if __name__ == "__main__":
    call.main(lambda: Anthropic(max_retries=0))
