"""What some models can besides, through Ollama's own client: call tools, think, and see."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ollama import Client, ResponseError

import weft_worker
from tests.e2e.sdk import shapes
from tests.e2e.stack import Stack
from tests.eye import IMAGE_TOKENS, png, write_projector
from tests.thinker import write_thinker

pytestmark = pytest.mark.e2e

TINY, THINKING, SEEING = "weft-tiny", "ollama-thinking", "ollama-seeing"
GREEDY: Any = {"temperature": 0}
THINK = [{"role": "user", "content": "Say: <think>hm</think> hello"}]


def get_weather(city: str) -> str:
    """Tells the weather in a city.

    Args:
        city: The city.
    """
    return f"sunny in {city}"


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    models = stack.home / "models"
    stack.add_model(
        THINKING, "llama-cpp", parameters={"model": str(write_thinker(models / "ollama-thinker.gguf"))}
    )
    write_projector(models / "ollama-eye.gguf")
    weights = {"model": str(Path(weft_worker.__file__).with_name("models") / "weft-tiny.gguf")}
    stack.add_model(SEEING, "llama-cpp", parameters=weights, mmproj="ollama-eye.gguf", context_size=512)
    with Client(host=stack.url, headers=stack.headers) as made:
        yield made


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_what_it_says_is_used(client: Client, *, stream: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
    asked: Any = {"model": TINY, "tools": [get_weather], "options": GREEDY}
    if stream:
        pieces = list(client.chat(**asked, messages=messages, stream=True))
        said = next(piece.message for piece in pieces if piece.message.tool_calls)
        assert "".join(piece.message.content or "" for piece in pieces) == ""
        assert pieces[-1].done_reason == "stop"
    else:
        said = client.chat(**asked, messages=messages).message
    (call,) = said.tool_calls or ()
    assert (call.function.name, dict(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    result = get_weather(**call.function.arguments)
    messages += [said, {"role": "tool", "content": result, "tool_name": call.function.name}]
    last = client.chat(**asked, messages=messages)
    assert "sunny" in (last.message.content or "")
    assert not last.message.tool_calls


def test_a_call_has_an_id_by_which_its_result_may_name_it(client: Client, stack: Stack) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    function = {
        "name": "get_weather",
        "description": "Tells the weather in a city.",
        "parameters": parameters,
    }
    tools = [{"type": "function", "function": function}]

    def said(**fields: Any) -> Any:
        asked = {"model": TINY, "messages": messages, "tools": tools, "stream": False, "options": GREEDY}
        with stack.client() as made:
            answer = made.post("/api/chat", json=asked | fields)
        told = [json.loads(line) for line in answer.text.splitlines()]
        for piece in told:
            (shapes.OLLAMA_CHAT_PIECE if fields else shapes.OLLAMA_CHAT).check(piece)
        return next((each["message"] for each in told if "tool_calls" in each["message"]), told[0]["message"])

    for message in (said(), said(stream=True)):
        (call,) = message["tool_calls"]
        assert call["id"].startswith("call_")
        assert call["function"] == {"index": 0, "name": "get_weather", "arguments": {"city": "Paris"}}
    messages += [message, {"role": "tool", "content": get_weather("Paris"), "tool_call_id": call["id"]}]
    assert "sunny" in said()["content"]


def test_thoughts_are_told_apart_and_can_be_left_out(client: Client, stack: Stack) -> None:
    told = client.chat(THINKING, THINK, options=GREEDY)
    assert (told.message.thinking or "").strip() == "hm"
    assert (told.message.content or "").endswith("hello")
    assert "<think>" not in (told.message.content or "")
    pieces = list(client.chat(THINKING, THINK, think=True, options=GREEDY, stream=True))
    assert "".join(piece.message.thinking or "" for piece in pieces) == told.message.thinking
    assert "".join(piece.message.content or "" for piece in pieces) == told.message.content
    assert client.generate(THINKING, THINK[0]["content"], options=GREEDY).thinking == told.message.thinking
    assert not client.chat(THINKING, THINK, think=False, options=GREEDY).message.thinking
    with stack.client() as made:
        body = {"model": THINKING, "messages": THINK, "stream": False, "think": "low", "options": GREEDY}
        shapes.OLLAMA_CHAT.check(made.post("/api/chat", json=body).json())


def test_who_cannot_think_says_so(client: Client) -> None:
    with pytest.raises(ResponseError, match='"weft-tiny" does not support thinking') as caught:
        client.chat(TINY, THINK, think=True)
    assert caught.value.status_code == 400
    assert client.chat(TINY, THINK, think=False, options={"num_predict": 1}).done


def test_pictures_are_seen_by_models_that_can(client: Client) -> None:
    asked: Any = {"options": {"num_predict": 1}}
    picture = png((255, 0, 0))
    unseen = client.generate(SEEING, "What is this?", **asked)
    seen = client.generate(SEEING, "What is this?", images=[picture], **asked)
    assert (seen.prompt_eval_count or 0) >= (unseen.prompt_eval_count or 0) + IMAGE_TOKENS
    message: Any = {"role": "user", "content": "What is this?", "images": [picture]}
    assert client.chat(SEEING, [message], **asked).prompt_eval_count == seen.prompt_eval_count
    with pytest.raises(ResponseError, match="cannot see images"):
        client.chat(TINY, [message], **asked)
    assert "vision" in (client.show(SEEING).capabilities or [])


def test_structured_output_is_whole_in_pieces_too(client: Client) -> None:
    schema = {
        "type": "object",
        "properties": {"size": {"enum": ["small", "large"]}, "on": {"type": "boolean"}},
        "required": ["size", "on"],
    }
    pieces = client.chat(TINY, THINK, format=schema, options={"seed": 4}, stream=True)
    value = json.loads("".join(piece.message.content or "" for piece in pieces))
    assert value["size"] in ("small", "large")
    assert isinstance(value["on"], bool)


def test_a_stop_string_is_found_across_tokens(client: Client) -> None:
    asked: Any = {"model": TINY, "messages": [{"role": "user", "content": "What is the capital of France?"}]}
    text = client.chat(**asked, options=GREEDY).message.content or ""
    stop = text[len(text) // 2 : len(text) // 2 + 4]
    cut = client.chat(**asked, options={**GREEDY, "stop": [stop]})
    assert (cut.message.content, cut.done_reason) == (text[: text.index(stop)], "stop")
    pieces = client.chat(**asked, options={**GREEDY, "stop": stop}, stream=True)
    assert "".join(piece.message.content or "" for piece in pieces) == cut.message.content
