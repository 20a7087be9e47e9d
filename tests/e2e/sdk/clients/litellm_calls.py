"""litellm as a client of every dialect: base URL and key are given, as its users give them for servers of their own."""

import json
import os
from typing import Any

import litellm
from litellm import acompletion, completion, embedding, rerank, text_completion

from tests.e2e.sdk.clients.calls import CAPITAL, CHAT, VECTORS, Calls, raises

call = Calls()
KEY = os.environ["OPENAI_API_KEY"]
V1 = os.environ["OPENAI_BASE_URL"]
ROOT = os.environ["OLLAMA_HOST"]
# How each dialect's model and address are written.
OPENAI: Any = {"model": f"openai/{CHAT}", "api_base": V1, "api_key": KEY}
ANTHROPIC: Any = {"model": f"anthropic/{CHAT}", "api_base": ROOT, "api_key": KEY}
OLLAMA: Any = {"model": f"ollama_chat/{CHAT}", "api_base": ROOT, "api_key": KEY}
DIALECTS = (OPENAI, ANTHROPIC, OLLAMA)
ASK = [{"role": "user", "content": CAPITAL}]
WEATHER_ASKED = [{"role": "user", "content": "What is the weather in Paris?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
DOCUMENTS = [
    "The carburettor mixes air and fuel.",
    "To change your password, open the settings page.",
    "Cats sleep for most of the day.",
]


def ask(dialect: Any, **fields: Any) -> Any:
    """One chat, greedy unless told otherwise."""
    return completion(
        **{**dialect, "messages": ASK, "temperature": 0, "max_tokens": 60, "num_retries": 0, **fields}
    )


def check_chat(dialect: Any) -> None:
    """A buffered and a streamed chat."""
    whole = ask(dialect)
    assert "Paris" in whole.choices[0].message.content
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.completion_tokens > 0
    pieces = list(ask(dialect, stream=True))
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert text == whole.choices[0].message.content


def check_tools(dialect: Any) -> None:
    """A round trip with a tool."""
    answer = ask(dialect, messages=WEATHER_ASKED, tools=[WEATHER])
    (only,) = answer.choices[0].message.tool_calls
    assert (only.function.name, json.loads(only.function.arguments)) == ("get_weather", {"city": "Paris"})
    result = {"role": "tool", "tool_call_id": only.id, "name": "get_weather", "content": "sunny"}
    messages = [*WEATHER_ASKED, answer.choices[0].message.model_dump(exclude_none=True), result]
    assert "sunny" in ask(dialect, messages=messages, tools=[WEATHER]).choices[0].message.content


@call("openai/: chat, buffered and streamed")
def openai_chat(_: Any) -> None:
    check_chat(OPENAI)


@call("openai/: a round trip with a tool")
def openai_tools(_: Any) -> None:
    check_tools(OPENAI)


@call("openai/: response_format json_schema")
def openai_schema(_: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"coast": {"type": "boolean"}},
        "required": ["coast"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "thing", "strict": True, "schema": schema}}
    assert list(json.loads(ask(OPENAI, response_format=form).choices[0].message.content)) == ["coast"]


@call("openai/: acompletion, streamed")
async def openai_async(_: Any) -> None:
    stream: Any = await acompletion(**OPENAI, messages=ASK, temperature=0, stream=True)
    text = "".join([piece.choices[0].delta.content or "" async for piece in stream])
    assert "Paris" in text


@call("openai/: embedding")
def openai_embedding(_: Any) -> None:
    answer: Any = embedding(model=f"openai/{VECTORS}", input=["cat", "kitten"], api_base=V1, api_key=KEY)
    assert [len(each["embedding"]) for each in answer.data] == [384, 384]


@call("text-completion-openai/: completions")
def openai_completion(_: Any) -> None:
    answer: Any = text_completion(
        model=f"text-completion-openai/{CHAT}",
        prompt="Once upon a time",
        max_tokens=8,
        temperature=0,
        api_base=V1,
        api_key=KEY,
    )
    assert answer.choices[0].text


@call("anthropic/: chat, buffered and streamed")
def anthropic_chat(_: Any) -> None:
    check_chat(ANTHROPIC)


@call("anthropic/: a round trip with a tool")
def anthropic_tools(_: Any) -> None:
    check_tools(ANTHROPIC)


@call("ollama_chat/: chat, buffered and streamed")
def ollama_chat(_: Any) -> None:
    check_chat(OLLAMA)


@call("ollama_chat/: a round trip with a tool")
def ollama_tools(_: Any) -> None:
    check_tools(OLLAMA)


@call("jina_ai/: rerank")
def jina_rerank(_: Any) -> None:
    check_rerank(f"jina_ai/{VECTORS}", ROOT)


@call("cohere/: rerank")
def cohere_rerank(_: Any) -> None:
    check_rerank(f"cohere/{VECTORS}", f"{ROOT}/v2/rerank")


def check_rerank(model: str, base: str) -> None:
    """The right document comes first."""
    answer: Any = rerank(
        model=model,
        query="How do I reset my password?",
        documents=DOCUMENTS,
        top_n=2,
        api_base=base,
        api_key=KEY,
    )
    assert [answer.results[0]["index"], len(answer.results)] == [1, 2]


@call(
    "errors: wrong key, unknown model, wrong value, context too long, as litellm's classes, in each dialect"
)
def errors(_: Any) -> None:
    for dialect in DIALECTS:
        provider = dialect["model"].partition("/")[0]
        raises(litellm.AuthenticationError, lambda told=dialect: ask({**told, "api_key": "sk-wrong"}))
        raises(
            litellm.NotFoundError,
            lambda told=dialect, name=provider: ask({**told, "model": f"{name}/nobody"}),
        )
    raises(litellm.BadRequestError, lambda: ask(OPENAI, temperature=3))
    long = [{"role": "user", "content": "word " * 20_000}]
    raises(litellm.ContextWindowExceededError, lambda: ask(OPENAI, messages=long))


if __name__ == "__main__":
    call.main(lambda: None)
