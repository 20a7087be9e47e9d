"""What is the same in every dialect that writes text: many streams at once, whole characters, stops and seeds."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.e2e.sdk.answers import ANTHROPIC_HEADERS, WRITERS, Writer
from tests.e2e.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.parametrize("writer", WRITERS, ids=[writer.path for writer in WRITERS]),
]

MODEL = "weft-tiny"
_NAMES = ("fish", "house", "iron", "juice", "tree", "bird", "river", "stone", "cloud", "book")
# Fifty pairs that weft-tiny repeats without a mistake.
NONCES = [f"{first} {second}" for first in ("apple", "bread", "chair", "dog", "cat") for second in _NAMES]
CAPITAL = "What is the capital of France?"
# Letters of two to four bytes, in several tokens each.
LETTERS = ("🦊 é", "日本語 здесь", "💡💡")
# Emoji with joiners, modifiers and flags, and marks that combine with what is before them.
CLUSTERS = "👩‍🚀 👍🏽 🏳️‍🌈 🇫🇷 éố ñ 한국어"


def ask(stack: Stack, writer: Writer, prompt: str, **options: Any) -> str:
    """One buffered answer."""
    with stack.client() as client:
        answer = client.post(writer.path, json=writer.body(MODEL, prompt, options), headers=ANTHROPIC_HEADERS)
    assert answer.status_code == 200, answer.text
    return writer.text(answer.json())


def stream(stack: Stack, writer: Writer, prompt: str, **options: Any) -> str:
    """One streamed answer, put together."""
    body = writer.stream_body(MODEL, prompt, options)
    with stack.client() as client:
        answer = client.post(writer.path, json=body, headers=ANTHROPIC_HEADERS)
    assert answer.status_code == 200, answer.text
    return writer.streamed(answer.content)


async def stream_all(stack: Stack, writer: Writer, prompts: list[str]) -> list[str]:
    """Many streamed answers at once."""

    async def one(client: httpx.AsyncClient, prompt: str) -> str:
        body = writer.stream_body(MODEL, prompt, {})
        answer = await client.post(writer.path, json=body, headers=ANTHROPIC_HEADERS)
        assert answer.status_code == 200, answer.text
        return writer.streamed(answer.content)

    limits = httpx.Limits(max_connections=len(prompts))
    client = httpx.AsyncClient(base_url=stack.url, headers=stack.headers, timeout=60, limits=limits)
    async with client, asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(client, prompt)) for prompt in prompts]
    return [task.result() for task in tasks]


def test_fifty_streams_at_once_each_say_what_they_were_told(stack: Stack, writer: Writer) -> None:
    told = asyncio.run(stream_all(stack, writer, [f"Say: {nonce}" for nonce in NONCES]))
    assert [text.strip() for text in told] == NONCES


def test_characters_are_whole_wherever_a_stream_is_cut(stack: Stack, writer: Writer) -> None:
    for text in LETTERS:
        assert ask(stack, writer, f"Say: {text}").strip() == text
        assert stream(stack, writer, f"Say: {text}").strip() == text
    if writer.form is None:
        return
    # weft-tiny would not repeat them by itself: nothing else fits the schema.
    properties = {"said": {"const": CLUSTERS}}
    schema = {"type": "object", "properties": properties, "required": ["said"], "additionalProperties": False}
    asked = {**writer.stream_body(MODEL, "Hello", {"limit": 300}), **writer.form(schema)}
    with stack.client() as client:
        answer = client.post(writer.path, json=asked, headers=ANTHROPIC_HEADERS)
    assert json.loads(writer.streamed(answer.content)) == {"said": CLUSTERS}


def test_a_stop_string_that_begins_and_ends_within_tokens_is_found(stack: Stack, writer: Writer) -> None:
    whole = ask(stack, writer, CAPITAL)
    for stop in ("Paris", "ital of Fr", "s."):
        expected = whole.partition(stop)[0]
        assert expected != whole
        assert ask(stack, writer, CAPITAL, stop=stop) == expected
        assert stream(stack, writer, CAPITAL, stop=stop) == expected


def test_a_seed_repeats_an_answer(stack: Stack, writer: Writer) -> None:
    if writer.path == "/v1/messages":
        return  # Anthropic's API has no seed
    story = {"temperature": 1.5, "limit": 16}
    first = ask(stack, writer, "Tell me a story.", seed=7, **story)
    assert first == stream(stack, writer, "Tell me a story.", seed=7, **story)
    assert first != ask(stack, writer, "Tell me a story.", seed=8, **story)
