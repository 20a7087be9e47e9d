"""openai-python, chats: `OPENAI_BASE_URL` and `OPENAI_API_KEY` are all that differs from OpenAI itself."""

import json
from typing import Any, Literal

import openai
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

from tests.e2e.sdk.clients.calls import CAPITAL, CHAT, EYE, RED_PNG, STORY, THINKER, THOUGHT, Calls, raises

call = Calls()
ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": CAPITAL}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
WEATHER_ASKED: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]


def ask(client: OpenAI, **fields: Any) -> Any:
    """One buffered chat, greedy unless told otherwise."""
    asked = {"model": CHAT, "messages": ASK, "temperature": 0, **fields}
    return client.chat.completions.create(**asked)


def text_of(answer: Any) -> str:
    """What the assistant said."""
    said = answer.choices[0].message.content
    assert isinstance(said, str)
    return said


@call("chat: a buffered answer with usage")
def chat(client: OpenAI) -> None:
    answer = ask(client)
    assert "Paris" in text_of(answer)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 2
    assert answer.id.startswith("chatcmpl-")


@call("chat: a stream, with its usage at the end")
def chat_stream(client: OpenAI) -> None:
    whole = ask(client)
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == text_of(whole)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert len({chunk.id for chunk in chunks}) == 1


@call("chat: the stream helper and its events")
def chat_stream_helper(client: OpenAI) -> None:
    with client.chat.completions.stream(model=CHAT, messages=ASK, temperature=0) as events:
        kinds = {event.type for event in events}
        final = events.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert "Paris" in text_of(final)


@call("chat: the asynchronous client, buffered and streamed")
async def chat_async(_: OpenAI) -> None:
    async with AsyncOpenAI() as client:
        whole = await client.chat.completions.create(model=CHAT, messages=ASK, temperature=0)
        stream = await client.chat.completions.create(model=CHAT, messages=ASK, temperature=0, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == text_of(whole)


@call("chat: system, developer and earlier messages, content as parts of text")
def chat_conversation(client: OpenAI) -> None:
    messages = [
        {"role": "system", "content": "You are weft-tiny."},
        {"role": "user", "content": "My name is Anna.", "name": "Anna"},
        {"role": "assistant", "content": "Hello Anna!"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is the capital "},
                {"type": "text", "text": "of France?"},
            ],
        },
    ]
    assert "Paris" in text_of(ask(client, messages=messages))
    messages[0]["role"] = "developer"
    assert "Paris" in text_of(ask(client, messages=messages))


@call("chat: an image by data URL")
def chat_image(client: OpenAI) -> None:
    picture = {"url": f"data:image/png;base64,{RED_PNG}", "detail": "low"}
    parts: list[Any] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": picture},
    ]

    def prompt_tokens(content: Any) -> int:
        messages = [{"role": "user", "content": content}]
        count = ask(client, model=EYE, messages=messages, max_tokens=4).usage.prompt_tokens
        assert isinstance(count, int)
        return count

    assert prompt_tokens(parts) > prompt_tokens("What is this?")
    away = [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}],
        }
    ]
    refused = raises(openai.BadRequestError, lambda: ask(client, model=EYE, messages=away))
    assert refused.param


@call("chat: n answers, each as with its own seed")
def chat_n(client: OpenAI) -> None:
    asked: Any = {"messages": [{"role": "user", "content": STORY}], "temperature": 1.5, "max_tokens": 12}
    alone = [text_of(ask(client, **asked, seed=7 + index)) for index in range(4)]
    together = ask(client, **asked, seed=7, n=4)
    assert [choice.message.content for choice in together.choices] == alone
    texts = [""] * 4
    for chunk in ask(client, **asked, seed=7, n=4, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == alone
    assert len(set(alone)) > 1


@call("chat: stop, as a string and as a list")
def chat_stop(client: OpenAI) -> None:
    whole = text_of(ask(client))
    for stop in ("Paris", ["nowhere", "Paris"], ["ital of Fr"]):
        answer = ask(client, stop=stop)
        assert answer.choices[0].finish_reason == "stop"
        word = stop if isinstance(stop, str) else stop[-1]
        assert text_of(answer) == whole.partition(word)[0]


@call("chat: max_tokens and max_completion_tokens")
def chat_limits(client: OpenAI) -> None:
    for limit in ({"max_tokens": 2}, {"max_completion_tokens": 2}):
        answer = ask(client, **limit)
        assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 2)


@call("chat: temperature, top_p, seed and penalties")
def chat_sampling(client: OpenAI) -> None:
    def told(**fields: Any) -> str:
        return text_of(ask(client, messages=[{"role": "user", "content": STORY}], max_tokens=20, **fields))

    assert told(temperature=1.5, seed=7) == told(temperature=1.5, seed=7) != told(temperature=1.5, seed=8)
    assert told(temperature=1.5, top_p=0.0001, seed=1) == told(temperature=0)
    assert told(frequency_penalty=2, presence_penalty=2) != told()


@call("chat: logit_bias")
def chat_logit_bias(client: OpenAI) -> None:
    free = ask(client, logprobs=True, max_tokens=1)
    tokens = client.post("/tokenize", body={"model": CHAT, "content": text_of(free)}, cast_to=object)
    assert isinstance(tokens, dict)
    banned = {str(token): -100 for token in tokens["tokens"]}
    assert text_of(ask(client, logit_bias=banned, max_tokens=1)) != text_of(free)


@call("chat: logprobs and top_logprobs")
def chat_logprobs(client: OpenAI) -> None:
    (choice,) = ask(client, max_tokens=6, logprobs=True, top_logprobs=3).choices
    told = choice.logprobs.content
    assert "".join(token.token for token in told) == choice.message.content
    assert [len(token.top_logprobs) for token in told] == [3] * 6
    streamed = [
        token
        for chunk in ask(client, max_tokens=6, logprobs=True, top_logprobs=3, stream=True)
        for each in chunk.choices
        if each.logprobs
        for token in each.logprobs.content or []
    ]
    assert [token.token for token in streamed] == [token.token for token in told]


def called(answer: Any) -> Any:
    """The one call of a tool in an answer."""
    assert answer.choices[0].finish_reason == "tool_calls"
    (only,) = answer.choices[0].message.tool_calls
    return only


@call("chat: a round trip with a tool, buffered")
def chat_tools(client: OpenAI) -> None:
    answer = ask(client, messages=WEATHER_ASKED, tools=[WEATHER])
    only = called(answer)
    assert (only.function.name, json.loads(only.function.arguments)) == ("get_weather", {"city": "Paris"})
    messages = [
        *WEATHER_ASKED,
        answer.choices[0].message,
        {"role": "tool", "tool_call_id": only.id, "content": "sunny"},
    ]
    last = ask(client, messages=messages, tools=[WEATHER])
    assert last.choices[0].finish_reason == "stop"
    assert "sunny" in text_of(last)


@call("chat: a round trip with a tool, whose call is streamed")
def chat_tools_stream(client: OpenAI) -> None:
    arguments, names, ids, reasons = "", [], [], []
    for chunk in ask(client, messages=WEATHER_ASKED, tools=[WEATHER], stream=True):
        for choice in chunk.choices:
            reasons += [choice.finish_reason] if choice.finish_reason else []
            for part in choice.delta.tool_calls or []:
                assert part.index == 0
                names += [part.function.name] if part.function.name else []
                ids += [part.id] if part.id else []
                arguments += part.function.arguments or ""
    assert (names, reasons, json.loads(arguments)) == (["get_weather"], ["tool_calls"], {"city": "Paris"})
    said = {"id": ids[0], "type": "function", "function": {"name": names[0], "arguments": arguments}}
    messages = [
        *WEATHER_ASKED,
        {"role": "assistant", "content": None, "tool_calls": [said]},
        {"role": "tool", "tool_call_id": ids[0], "content": [{"type": "text", "text": "sunny"}]},
    ]
    text = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in ask(client, messages=messages, tools=[WEATHER], stream=True)
    )
    assert "sunny" in text


@call("chat: tool_choice none, auto, required, named and allowed_tools; parallel_tool_calls")
def chat_tool_choice(client: OpenAI) -> None:
    def chosen(choice: Any, **fields: Any) -> Any:
        return ask(client, tools=[WEATHER], tool_choice=choice, **fields)

    named = {"type": "function", "function": {"name": "get_weather"}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [named]}}
    assert "Paris" in text_of(chosen("none"))
    assert called(chosen("auto", messages=WEATHER_ASKED)).function.name == "get_weather"
    for choice in ("required", named, allowed):
        only = called(chosen(choice, parallel_tool_calls=False))
        assert list(json.loads(only.function.arguments)) == ["city"]


@call("chat: functions and function_call, as before there were tools")
def chat_functions(client: OpenAI) -> None:
    function = WEATHER["function"]
    answer = ask(client, messages=WEATHER_ASKED, functions=[function], function_call={"name": "get_weather"})
    assert answer.choices[0].finish_reason == "function_call"
    said = answer.choices[0].message.function_call
    assert (said.name, json.loads(said.arguments)) == ("get_weather", {"city": "Paris"})


@call("chat: response_format json_object")
def chat_json_object(client: OpenAI) -> None:
    messages = [{"role": "user", "content": "JSON for Spain"}]
    answer = ask(client, messages=messages, response_format={"type": "json_object"})
    assert isinstance(json.loads(text_of(answer)), dict)


@call("chat: response_format json_schema, strict, buffered and streamed")
def chat_json_schema(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {
            "size": {"enum": ["small", "large"]},
            "count": {"type": "integer", "maximum": 9, "minimum": 0},
        },
        "required": ["size", "count"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "thing", "strict": True, "schema": schema}}
    text = text_of(ask(client, response_format=form))
    streamed = "".join(
        chunk.choices[0].delta.content or "" for chunk in ask(client, response_format=form, stream=True)
    )
    for told in (text, streamed):
        value = json.loads(told)
        assert list(value) == ["size", "count"]
        assert value["size"] in ("small", "large")
        assert value["count"] in range(10)


class Country(BaseModel):
    """What `parse` makes an answer of."""

    continent: Literal["Europe", "Asia"]
    coast: bool


@call("chat: parse into a pydantic model")
def chat_parse(client: OpenAI) -> None:
    answer = client.chat.completions.parse(model=CHAT, messages=ASK, response_format=Country, temperature=0)
    assert isinstance(answer.choices[0].message.parsed, Country)


@call(
    "chat: user, metadata, store=false, service_tier, prediction, safety_identifier, prompt_cache_key, verbosity"
)
def chat_tolerated(client: OpenAI) -> None:
    answer = ask(
        client,
        user="somebody",
        metadata={"trace": "1"},
        store=False,
        service_tier="auto",
        prediction={"type": "content", "content": "The capital of France is Rome."},
        safety_identifier="s",
        prompt_cache_key="k",
        verbosity="low",
        extra_body={"nobody_knows_this": {"a": [1]}},
    )
    assert "Paris" in text_of(answer)
    refused = raises(openai.BadRequestError, lambda: ask(client, store=True))
    assert refused.param == "store"


@call("chat: reasoning of a model that thinks, buffered and streamed")
def chat_reasoning(client: OpenAI) -> None:
    messages = [{"role": "user", "content": THOUGHT}]
    fields: Any = {"model": THINKER, "messages": messages, "reasoning_effort": "high"}
    message = ask(client, **fields).choices[0].message
    assert message.reasoning_content.strip() == "hm"
    assert message.content
    assert "<think>" not in message.content
    deltas = [chunk.choices[0].delta for chunk in ask(client, **fields, stream=True) if chunk.choices]
    thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert thought == message.reasoning_content
    assert "".join(delta.content or "" for delta in deltas) == message.content


if __name__ == "__main__":
    call.main(lambda: OpenAI(max_retries=0))
