"""ollama: `OLLAMA_HOST` and `OLLAMA_API_KEY` are all that differs from Ollama itself."""

import json
from math import hypot
from typing import Any

import ollama
from ollama import AsyncClient, Client

from tests.e2e.sdk.clients.calls import (
    CAPITAL,
    CHAT,
    EYE,
    RED_PNG,
    STORY,
    THINKER,
    THOUGHT,
    VECTORS,
    Calls,
    raises,
)

call = Calls()
ASK = [{"role": "user", "content": CAPITAL}]
GREEDY = {"temperature": 0}
SCHEMA: Any = {
    "type": "object",
    "properties": {"size": {"enum": ["small", "large"]}, "coast": {"type": "boolean"}},
    "required": ["size", "coast"],
    "additionalProperties": False,
}
WEATHER_ASKED: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]


def get_weather(city: str) -> str:
    """Tells the weather in a city.

    Args:
        city: The city.
    """
    return "sunny" if city else ""


def chat(client: Client, **fields: Any) -> Any:
    """One chat, greedy unless told otherwise."""
    return client.chat(**{"model": CHAT, "messages": ASK, "options": GREEDY, **fields})


def generate(client: Client, **fields: Any) -> Any:
    """One answer to a prompt, greedy unless told otherwise."""
    return client.generate(**{"model": CHAT, "prompt": CAPITAL, "options": GREEDY, **fields})


@call("chat: a buffered answer with counts and durations")
def chat_buffered(client: Client) -> None:
    answer = chat(client)
    assert "Paris" in answer.message.content
    assert (answer.message.role, answer.done, answer.done_reason) == ("assistant", True, "stop")
    assert answer.prompt_eval_count > 0 < answer.eval_count
    assert answer.total_duration >= answer.eval_duration > 0


@call("chat: a stream")
def chat_stream(client: Client) -> None:
    pieces = list(chat(client, stream=True))
    assert "".join(piece.message.content for piece in pieces) == chat(client).message.content
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1].eval_count > 0


@call("chat: the asynchronous client, buffered and streamed")
async def chat_async(_: Client) -> None:
    client = AsyncClient()
    whole = await client.chat(CHAT, ASK, options=GREEDY)
    text = "".join(
        [p.message.content or "" async for p in await client.chat(CHAT, ASK, options=GREEDY, stream=True)]
    )
    assert text == whole.message.content


@call("chat: system and earlier messages; a name with a tag")
def chat_conversation(client: Client) -> None:
    messages = [
        {"role": "system", "content": "You are weft-tiny."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello! How can I help you today?"},
        *ASK,
    ]
    assert "Paris" in chat(client, model=f"{CHAT}:latest", messages=messages).message.content


@call("chat: options num_predict, stop, seed, temperature, top_k, top_p, min_p, repeat_penalty")
def chat_options(client: Client) -> None:
    def told(**options: Any) -> Any:
        return chat(
            client, messages=[{"role": "user", "content": STORY}], options={"num_predict": 20, **options}
        )

    short = told(num_predict=2)
    assert (short.done_reason, short.eval_count) == ("length", 2)
    greedy = told(temperature=0).message.content
    assert told(temperature=1.5, top_k=1).message.content == greedy
    assert told(temperature=1.5, top_p=0.0001).message.content == greedy
    assert told(temperature=1.5, min_p=1.0).message.content == greedy
    assert told(temperature=1.5, seed=7).message.content == told(temperature=1.5, seed=7).message.content
    assert told(temperature=0, repeat_penalty=2.0).message.content
    stopped = told(temperature=0, stop=["upon"])
    assert (stopped.done_reason, stopped.message.content) == ("stop", greedy.partition("upon")[0])


@call("chat: format json and a schema, also beside a tool")
def chat_format(client: Client) -> None:
    spain = [{"role": "user", "content": "JSON for Spain"}]
    assert isinstance(json.loads(chat(client, messages=spain, format="json").message.content), dict)
    whole = json.loads(chat(client, format=SCHEMA).message.content)
    assert list(whole) == ["size", "coast"]
    pieces = chat(client, format=SCHEMA, stream=True)
    assert json.loads("".join(piece.message.content for piece in pieces)) == whole
    beside = chat(client, format=SCHEMA, tools=[get_weather]).message
    if not beside.tool_calls:
        assert list(json.loads(beside.content)) == ["size", "coast"]


@call("chat: a round trip with a tool made of a Python function, buffered and streamed")
def chat_tools(client: Client) -> None:
    answer = chat(client, messages=WEATHER_ASKED, tools=[get_weather])
    (only,) = answer.message.tool_calls
    assert (only.function.name, only.function.arguments) == ("get_weather", {"city": "Paris"})
    messages = [
        *WEATHER_ASKED,
        answer.message,
        {"role": "tool", "tool_name": "get_weather", "content": "sunny"},
    ]
    assert "sunny" in chat(client, messages=messages, tools=[get_weather]).message.content
    pieces = list(chat(client, messages=WEATHER_ASKED, tools=[get_weather], stream=True))
    calls = [each for piece in pieces for each in piece.message.tool_calls or ()]
    assert [(each.function.name, each.function.arguments) for each in calls] == [
        ("get_weather", {"city": "Paris"})
    ]


@call("chat: an image")
def chat_image(client: Client) -> None:
    def count(**fields: Any) -> int:
        messages = [{"role": "user", "content": "What is this?", **fields}]
        seen = chat(client, model=EYE, messages=messages, options={"num_predict": 4}).prompt_eval_count
        assert isinstance(seen, int)
        return seen

    assert count(images=[RED_PNG]) > count()


@call("chat: think, buffered and streamed")
def chat_think(client: Client) -> None:
    fields: Any = {"model": THINKER, "messages": [{"role": "user", "content": THOUGHT}]}
    message = chat(client, **fields, think=True).message
    assert message.thinking.strip() == "hm"
    assert message.content
    assert "<think>" not in message.content
    pieces = list(chat(client, **fields, think=True, stream=True))
    assert "".join(piece.message.thinking or "" for piece in pieces) == message.thinking
    assert "".join(piece.message.content for piece in pieces) == message.content
    without = chat(client, **fields, think=False).message
    assert not without.thinking
    refused = raises(ollama.ResponseError, lambda: chat(client, think=True))
    assert refused.status_code == 400, "weft-tiny does not think"


@call("chat: logprobs and top_logprobs")
def chat_logprobs(client: Client) -> None:
    answer = chat(client, logprobs=True, top_logprobs=2, options={**GREEDY, "num_predict": 4})
    assert "".join(token.token for token in answer.logprobs) == answer.message.content
    assert all(len(token.top_logprobs) == 2 for token in answer.logprobs)


@call("generate: a buffered answer")
def generate_buffered(client: Client) -> None:
    answer = generate(client)
    assert "Paris" in answer.response
    assert (answer.done, answer.done_reason) == (True, "stop")


@call("generate: a stream")
def generate_stream(client: Client) -> None:
    pieces = list(generate(client, stream=True))
    assert "".join(piece.response for piece in pieces) == generate(client).response
    assert pieces[-1].done


@call("generate: system, and raw without the chat's template")
def generate_raw(client: Client) -> None:
    assert "Paris" in generate(client, system="You are weft-tiny.").response
    raw = generate(client, prompt="Once upon a time", raw=True, options={**GREEDY, "num_predict": 8})
    assert raw.eval_count == 8
    assert raw.prompt_eval_count < generate(client, prompt="Once upon a time").prompt_eval_count


@call("generate: format json and a schema")
def generate_format(client: Client) -> None:
    assert isinstance(json.loads(generate(client, prompt="JSON for Spain", format="json").response), dict)
    assert list(json.loads(generate(client, format=SCHEMA).response)) == ["size", "coast"]


@call("generate: an image")
def generate_image(client: Client) -> None:
    assert generate(client, model=EYE, images=[RED_PNG], options={"num_predict": 4}).done


@call("generate: an empty prompt loads, keep_alive 0 unloads")
def generate_keep_alive(client: Client) -> None:
    loaded = client.generate(model=CHAT)
    assert (loaded.response, loaded.done_reason) == ("", "load")
    gone = client.generate(model=EYE, keep_alive=0)
    assert (gone.response, gone.done_reason) == ("", "unload")


@call("embed: one text or many, dimensions; a cat is nearer to a kitten than to a carburettor")
def embed(client: Client) -> None:
    words = ["cat", "kitten", "carburettor"]
    answer = client.embed(VECTORS, words)
    cat, kitten, carburettor = answer.embeddings
    assert all(abs(hypot(*vector) - 1) < 1e-5 for vector in answer.embeddings)
    near, far = (sum(a * b for a, b in zip(cat, other, strict=True)) for other in (kitten, carburettor))
    assert near > far + 0.2
    (alone,) = client.embed(VECTORS, "cat").embeddings
    assert max(abs(a - b) for a, b in zip(alone, cat, strict=True)) < 1e-5
    assert len(client.embed(VECTORS, "cat", dimensions=64).embeddings[0]) == 64
    assert (answer.prompt_eval_count or 0) > 0


@call("embed: a text that is too long is cut, or refused where truncate is false")
def embed_truncate(client: Client) -> None:
    long = "word " * 1000
    assert len(client.embed(VECTORS, long, truncate=True).embeddings[0]) == 384
    error = raises(ollama.ResponseError, lambda: client.embed(VECTORS, long, truncate=False))
    assert error.status_code == 400


@call("embeddings: the older call")
def embeddings(client: Client) -> None:
    vector = client.embeddings(VECTORS, "cat").embedding
    assert len(vector) == 384


@call("list: the models")
def tags(client: Client) -> None:
    found = {(model.model or "").partition(":")[0]: model for model in client.list().models}
    assert {CHAT, VECTORS} <= found.keys()
    assert (found[CHAT].size or 0) > 1_000_000


@call("show: one model, and what it can do")
def show(client: Client) -> None:
    assert {"completion", "tools"} <= set(client.show(CHAT).capabilities or ())
    assert "embedding" in (client.show(VECTORS).capabilities or ())
    assert raises(ollama.ResponseError, lambda: client.show("nobody")).status_code == 404


@call("ps: what is loaded")
def running(client: Client) -> None:
    chat(client)
    assert CHAT in {(model.model or "").partition(":")[0] for model in client.ps().models}


@call("errors: unknown model, wrong value, wrong key")
def errors(client: Client) -> None:
    missing = raises(ollama.ResponseError, lambda: chat(client, model="nobody"))
    assert missing.status_code == 404
    assert "nobody" in missing.error
    wrong = raises(ollama.ResponseError, lambda: chat(client, options={"temperature": "hot"}))
    assert wrong.status_code == 400
    stranger = Client(headers={"authorization": "Bearer sk-wrong"})
    assert raises(ollama.ResponseError, lambda: chat(stranger)).status_code == 401


if __name__ == "__main__":
    call.main(Client)
