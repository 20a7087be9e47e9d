"""What clients of OpenAI, Jina, Cohere and LocalAI ask beside plain chats, through Envoy, held to their shapes."""

import re
from base64 import b64encode
from collections.abc import Iterator
from math import hypot
from pathlib import Path
from typing import Any

import pytest
from openai import BadRequestError, OpenAI

import weft_worker
from tests.e2e.readers import embed, reading
from tests.e2e.sdk import shapes
from tests.e2e.stack import Stack
from tests.eye import png, write_projector
from tests.minilm import VECTOR_SIZE, minilm_gguf
from tests.thinker import write_thinker

pytestmark = pytest.mark.e2e

TINY, MINILM, EYE, THINKER = "weft-tiny", "minilm-rest", "eye", "thinker"
ASK: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "Tells the weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
DOCUMENTS = [
    "The carburettor mixes air and fuel.",
    "To change your password, open the settings page.",
    "Cats sleep for most of the day.",
]


@pytest.fixture(scope="module")
def client(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    """With models of all kinds in the catalog."""
    files = tmp_path_factory.mktemp("models")
    tiny = Path(weft_worker.__file__).with_name("models") / "weft-tiny.gguf"
    eye = str(write_projector(files / "eye.gguf"))
    stack.add_model(MINILM, "llama-cpp", parameters={"model": str(minilm_gguf())}, embeddings=True)
    stack.add_model(EYE, "llama-cpp", parameters={"model": str(tiny)}, mmproj=eye, context_size=512)
    thinker = str(write_thinker(files / "thinker.gguf"))
    stack.add_model(THINKER, "llama-cpp", parameters={"model": thinker}, context_size=512)
    with OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0) as made:
        yield made


def complete(client: OpenAI, prompt: Any = "Once upon a time", **fields: Any) -> Any:
    asked = {"model": TINY, "temperature": 0, "max_tokens": 8, **fields}
    return client.completions.create(prompt=prompt, **asked)


def texts(answer: Any) -> list[str]:
    return [choice.text for choice in answer.choices]


def ended(chunk: dict[str, Any]) -> dict[str, Any]:
    """The library takes pieces of a stream for whole answers, which all have a reason; OpenAI sends null in them."""
    choices = [{**each, "finish_reason": each["finish_reason"] or "stop"} for each in chunk["choices"]]
    return {**chunk, "choices": choices}


def posted(stack: Stack, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
    with stack.client() as http:
        response = http.post(path, json=body)
    return response.status_code, response.json()


def test_a_text_goes_on_in_one_piece_and_in_many(client: OpenAI) -> None:
    whole = complete(client, logprobs=2)
    shapes.COMPLETION.check(whole.to_dict())
    (choice,) = whole.choices
    assert "".join(choice.logprobs.tokens) == choice.text
    assert choice.logprobs.text_offset[0] == 0
    assert {len(top) for top in choice.logprobs.top_logprobs} <= {2, 3}
    chunks = [*complete(client, stream=True, stream_options={"include_usage": True})]
    for chunk in chunks:
        shapes.COMPLETION_CHUNK.check(ended(chunk.to_dict()))
    assert "".join(text for chunk in chunks for text in texts(chunk)) == choice.text
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


def test_prompts_are_texts_or_tokens_and_each_is_answered_in_its_place(client: OpenAI, stack: Stack) -> None:
    _, told = posted(stack, "/v1/tokenize", model=TINY, content="Once upon a time")
    assert told["count"] == len(told["tokens"])
    alone = complete(client)
    assert texts(complete(client, told["tokens"])) == texts(alone)
    both = complete(client, [told["tokens"], told["tokens"][:2]], n=2, echo=True)
    assert [choice.index for choice in both.choices] == [0, 1, 2, 3]
    assert texts(both)[:2] == [f"Once upon a time{texts(alone)[0]}"] * 2
    assert texts(both)[2].startswith("Once")
    assert both.usage.prompt_tokens == alone.usage.prompt_tokens + 2
    several = texts(complete(client, n=3, seed=5, temperature=1.5))
    assert several == [texts(complete(client, seed=5 + n, temperature=1.5))[0] for n in range(3)]


def test_stops_and_echoes_without_an_answer(client: OpenAI) -> None:
    said = texts(complete(client))[0]
    stop = said[len(said) // 2 :][:3]
    stopped = complete(client, stop=stop).choices[0]
    assert (stopped.text, stopped.finish_reason) == (said[: said.index(stop)], "stop")
    nothing = complete(client, echo=True, max_tokens=0)
    assert (texts(nothing), nothing.usage.completion_tokens) == (["Once upon a time"], 0)
    shapes.COMPLETION.check(nothing.to_dict())


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"best_of": 3}, "best_of"),
        ({"suffix": "The end."}, "suffix"),
        ({"logprobs": 6}, "logprobs"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, 999_999]}, "prompt"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"model": MINILM}, "model"),
    ],
)
def test_a_completion_that_cannot_be_is_refused_by_its_field(
    client: OpenAI, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequestError) as caught:
        complete(client, **{"prompt": "Once", **fields})
    assert caught.value.param == param
    shapes.OPENAI_ERROR.check(caught.value.response.json())


def test_a_prompt_beyond_the_context_is_told_in_openais_words(client: OpenAI) -> None:
    words = (
        r"maximum context length is \d+ tokens, however you requested \d+ tokens \(\d+ in your prompt; 8 for"
    )
    with pytest.raises(BadRequestError, match=words) as caught:
        complete(client, "word " * 20_000)
    assert caught.value.code == "context_length_exceeded"
    words = r"maximum context length is \d+ tokens. However, your messages resulted in \d+ tokens"
    with pytest.raises(BadRequestError, match=words) as caught:
        client.chat.completions.create(model=TINY, messages=[{"role": "user", "content": "word " * 20_000}])
    assert caught.value.code == "context_length_exceeded"


def test_vectors_are_the_same_in_every_form_and_in_the_typed_api(client: OpenAI, stack: Stack) -> None:
    words = ["cat", "kitten", "carburettor"]
    packed = client.embeddings.create(model=MINILM, input=words)
    plain = client.embeddings.create(model=MINILM, input=words, encoding_format="float")
    shapes.EMBEDDINGS.check(plain.to_dict())
    cat, kitten, carburettor = (each.embedding for each in packed.data)
    assert [each.embedding for each in plain.data] == [pytest.approx(v) for v in (cat, kitten, carburettor)]
    assert (len(cat), abs(hypot(*cat) - 1) < 1e-5) == (VECTOR_SIZE, True)
    assert dot(cat, kitten) > dot(cat, carburettor) + 0.2
    alone = client.embeddings.create(model=MINILM, input="kitten").data[0].embedding
    assert alone == pytest.approx(kitten, abs=1e-5)
    with reading(stack) as typed:
        told = typed.ask(embed(MINILM, *words)).embeddings[1].values
    assert list(told) == pytest.approx(kitten, abs=1e-5)
    short = client.embeddings.create(model=MINILM, input="kitten", dimensions=64).data[0].embedding
    assert (len(short), abs(hypot(*short) - 1) < 1e-5) == (64, True)
    assert packed.usage.prompt_tokens == packed.usage.total_tokens > 3


def dot(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def test_tokens_make_the_vector_of_their_text(client: OpenAI, stack: Stack) -> None:
    _, told = posted(stack, "/v1/tokenize", model=MINILM, prompt="kitten", return_token_strs=True)
    assert [text.strip() for text in told["token_strs"]] == ["kitten"]
    # The model's own beginning and end, which a text gets and tokens do not.
    tokens = [101, *told["tokens"], 102]
    (one,) = client.embeddings.create(model=MINILM, input=tokens).data
    both = client.embeddings.create(model=MINILM, input=[tokens, tokens]).data
    kitten = client.embeddings.create(model=MINILM, input="kitten").data[0].embedding
    for vector in (one, *both):
        assert vector.embedding == pytest.approx(kitten, abs=1e-5)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input.1"),
        ({"input": ["a", "word " * 600]}, "input.1"),
        ({"input": [1, 999_999]}, "input"),
        ({"input": "a", "dimensions": VECTOR_SIZE + 1}, "dimensions"),
        ({"input": "a", "model": TINY}, "model"),
    ],
)
def test_vectors_that_cannot_be_made_are_refused_by_the_field(
    client: OpenAI, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.embeddings.create(**{"model": MINILM, **fields})
    assert caught.value.param == param
    shapes.OPENAI_ERROR.check(caught.value.response.json())


def test_the_right_document_comes_first_for_jinas_and_coheres_clients(stack: Stack, client: OpenAI) -> None:
    asked = {"model": MINILM, "query": "How do I reset my password?", "documents": DOCUMENTS}
    status, jina = posted(stack, "/v1/rerank", **asked)
    assert (status, jina["results"][0]["index"]) == (200, 1)
    assert jina["results"][0]["document"] == {"text": DOCUMENTS[1]}
    assert set(jina) == {"model", "object", "usage", "results"}
    status, cohere = posted(stack, "/v2/rerank", **asked, top_n=2)
    assert status == 200
    assert [result["index"] for result in cohere["results"]] == [
        result["index"] for result in jina["results"][:2]
    ]
    assert set(cohere) == {"id", "results", "meta"}
    for path in ("/v1/rerank", "/v2/rerank"):
        status, error = posted(stack, path, model=MINILM, query="q", documents=["a", ""])
        assert (status, "documents.1" in str(error)) == (400, True)
        assert posted(stack, path, model="none", query="q", documents=["a"])[0] == 404


def test_a_conversation_counts_as_many_tokens_as_its_chat(client: OpenAI, stack: Stack) -> None:
    _, told = posted(stack, "/v1/tokenize", model=TINY, messages=ASK)
    answer = client.chat.completions.create(model=TINY, messages=ASK, max_tokens=1)
    assert answer.usage is not None
    assert told["count"] == answer.usage.prompt_tokens


def shown(url: str) -> list[Any]:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": parts}]


def test_pictures_are_seen_by_models_that_can(client: OpenAI) -> None:
    url = f"data:image/png;base64,{b64encode(png((255, 0, 0))).decode()}"
    seen = client.chat.completions.create(model=EYE, messages=shown(url), max_tokens=4)
    shapes.CHAT_COMPLETION.check(seen.to_dict())
    blind = client.chat.completions.create(
        model=EYE, messages=[{"role": "user", "content": "What is this?"}], max_tokens=4
    )
    assert seen.usage is not None
    assert blind.usage is not None
    assert seen.usage.prompt_tokens > blind.usage.prompt_tokens
    for model, picture, words in (
        (TINY, url, "cannot see images"),
        (EYE, "https://example.com/cat.png", "not fetched from URLs"),
        (EYE, "data:image/png;base64,AAAA", "PNG or JPEG"),
    ):
        with pytest.raises(BadRequestError, match=words) as caught:
            client.chat.completions.create(model=model, messages=shown(picture))
        assert (caught.value.param or "").startswith("messages")


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_are_told_beside_the_answer(client: OpenAI, *, stream: bool) -> None:
    asked: Any = {
        "model": THINKER,
        "messages": [{"role": "user", "content": "Say: <think>hm</think> hello"}],
        "temperature": 0,
        "reasoning_effort": "medium",
    }
    if stream:
        thoughts = text = ""
        for chunk in client.chat.completions.create(**asked, stream=True):
            shapes.CHAT_CHUNK.check(chunk.to_dict())
            delta: Any = chunk.choices[0].delta
            thoughts += getattr(delta, "reasoning_content", None) or ""
            text += delta.content or ""
    else:
        answer = client.chat.completions.create(**asked)
        shapes.CHAT_COMPLETION.check(answer.to_dict())
        message: Any = answer.choices[0].message
        thoughts, text = message.reasoning_content, message.content
    assert thoughts == "hm"
    assert text.endswith("hello")
    assert "<think>" not in text


@pytest.mark.parametrize("stream", [False, True])
def test_functions_of_the_old_kind_are_called_in_the_old_form(client: OpenAI, *, stream: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
    asked: Any = {"model": TINY, "temperature": 0, "functions": [WEATHER]}
    if stream:
        name = arguments = reason = ""
        for chunk in client.chat.completions.create(**asked, messages=messages, stream=True):
            shapes.CHAT_CHUNK.check(chunk.to_dict())
            (choice,) = chunk.choices
            reason = choice.finish_reason or reason
            if choice.delta.function_call is not None:
                name += choice.delta.function_call.name or ""
                arguments += choice.delta.function_call.arguments or ""
    else:
        answer = client.chat.completions.create(**asked, messages=messages)
        shapes.CHAT_COMPLETION.check(answer.to_dict())
        (whole,) = answer.choices
        assert whole.message.function_call is not None
        call = whole.message.function_call
        name, arguments, reason = call.name, call.arguments, whole.finish_reason
    assert (name, reason) == ("get_weather", "function_call")
    messages += [
        {"role": "assistant", "content": None, "function_call": {"name": name, "arguments": arguments}},
        {"role": "function", "name": name, "content": "sunny"},
    ]
    last = client.chat.completions.create(**asked, messages=messages).choices[0]
    assert "sunny" in (last.message.content or "")


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_that_takes_a_text_is_called_with_one_of_its_form(client: OpenAI, *, stream: bool) -> None:
    grammar = {"syntax": "regex", "definition": "[a-z]{3,8}"}
    custom = {"name": "spell", "format": {"type": "grammar", "grammar": grammar}}
    asked: Any = {
        "model": TINY,
        "messages": ASK,
        "tools": [{"type": "custom", "custom": custom}],
        "tool_choice": {"type": "custom", "custom": {"name": "spell"}},
    }
    if stream:
        told: list[Any] = [chunk.to_dict() for chunk in client.chat.completions.create(**asked, stream=True)]
        deltas: list[Any] = [chunk["choices"][0]["delta"] for chunk in told]
        (call,) = [call for delta in deltas for call in delta.get("tool_calls", ())]
        reason = told[-1]["choices"][0]["finish_reason"]
    else:
        answer = client.chat.completions.create(**asked)
        shapes.CHAT_COMPLETION.check(answer.to_dict())
        (choice,) = answer.choices
        message: Any = choice.message.to_dict()
        call, reason = message["tool_calls"][0], choice.finish_reason
    assert (call["type"], call["custom"]["name"], reason) == ("custom", "spell", "tool_calls")
    assert re.fullmatch("[a-z]{3,8}", call["custom"]["input"])


def test_hints_are_taken_and_what_would_be_stored_is_refused(client: OpenAI) -> None:
    asked: Any = {"model": TINY, "messages": ASK, "max_tokens": 2}
    answer = client.chat.completions.create(
        **asked,
        store=False,
        metadata={"team": "a"},
        prediction={"type": "content", "content": "Paris"},
        service_tier="flex",
        safety_identifier="s",
        prompt_cache_key="k",
        verbosity="low",
        user="u",
        extra_body={"field_of_tomorrow": True},
    )
    shapes.CHAT_COMPLETION.check(answer.to_dict())
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(**asked, store=True)
    assert caught.value.param == "store"
