"""openai-python, all but chats: `OPENAI_BASE_URL` and `OPENAI_API_KEY` are all that differs from OpenAI itself."""

from collections.abc import Sequence
from math import hypot
from typing import Any

import openai
from openai import AsyncOpenAI, OpenAI

from tests.e2e.sdk.clients.calls import CAPITAL, CHAT, STORY, VECTORS, Calls, raises

call = Calls()
PROMPT = "Once upon a time"
WORDS = ["cat", "kitten", "carburettor"]


def complete(client: OpenAI, **fields: Any) -> Any:
    """One buffered completion, greedy and short unless told otherwise."""
    asked = {"model": CHAT, "prompt": PROMPT, "temperature": 0, "max_tokens": 8, **fields}
    return client.completions.create(**asked)


@call("completions: a buffered answer with usage")
def completion(client: OpenAI) -> None:
    answer = complete(client)
    assert answer.object == "text_completion"
    assert answer.choices[0].text
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 8)


@call("completions: a stream, with its usage at the end")
def completion_stream(client: OpenAI) -> None:
    chunks = list(complete(client, stream=True, stream_options={"include_usage": True}))
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert text == complete(client).choices[0].text
    assert chunks[-1].usage.completion_tokens == 8


@call("completions: prompts as strings, tokens, and lists of both; n for each")
def completion_prompts(client: OpenAI) -> None:
    told = client.post("/tokenize", body={"model": CHAT, "content": PROMPT}, cast_to=object)
    assert isinstance(told, dict)
    tokens = told["tokens"]
    alone = complete(client).choices[0].text
    assert complete(client, prompt=tokens).choices[0].text == alone
    for prompt in ([PROMPT, PROMPT], [tokens, tokens]):
        choices = complete(client, prompt=prompt, n=2).choices
        assert [choice.index for choice in choices] == [0, 1, 2, 3]
        assert {choice.text for choice in choices} == {alone}


@call("completions: echo, stop and suffix")
def completion_echo(client: OpenAI) -> None:
    alone = complete(client).choices[0].text
    assert complete(client, echo=True).choices[0].text == PROMPT + alone
    word = alone.split()[1]
    assert complete(client, stop=word).choices[0].text == alone.partition(word)[0]
    refused = raises(openai.BadRequestError, lambda: complete(client, suffix=" The end."))
    assert refused.param == "suffix", "weft-tiny was never taught to fill in"


@call("completions: logprobs, of the prompt too where it is echoed")
def completion_logprobs(client: OpenAI) -> None:
    (choice,) = complete(client, logprobs=2).choices
    told = choice.logprobs
    assert "".join(told.tokens) == choice.text
    assert len(told.token_logprobs) == len(told.top_logprobs) == len(told.text_offset) == 8
    # OpenAI tells the chosen token beside the likeliest ones where it is none of them.
    assert all(2 <= len(likely) <= 3 for likely in told.top_logprobs)
    echoed = complete(client, logprobs=2, echo=True, max_tokens=1).choices[0]
    assert "".join(echoed.logprobs.tokens) == echoed.text
    assert echoed.text.startswith(PROMPT)
    assert echoed.logprobs.token_logprobs[0] is None, "nothing stands before the first token"
    assert all(chance <= 0 for chance in echoed.logprobs.token_logprobs[1:])


@call("completions: n=4 with a seed, buffered and streamed; best_of above 1 is refused")
def completion_best_of(client: OpenAI) -> None:
    asked: Any = {"temperature": 1.5, "seed": 3}
    alone = [complete(client, temperature=1.5, seed=3 + index).choices[0].text for index in range(4)]
    assert len(set(alone)) > 1
    assert [choice.text for choice in complete(client, **asked, n=4).choices] == alone
    texts = [""] * 4
    for chunk in complete(client, **asked, n=4, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == alone
    assert complete(client, best_of=1).choices[0].text
    refused = raises(openai.BadRequestError, lambda: complete(client, best_of=2))
    assert refused.param == "best_of"


def vectors(client: OpenAI, given: Any, **fields: Any) -> list[list[float]]:
    """The vectors of what is given, each checked for its length."""
    answer = client.embeddings.create(model=VECTORS, input=given, **fields)
    assert [each.index for each in answer.data] == list(range(len(answer.data)))
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > 0
    found = [each.embedding for each in answer.data]
    assert all(abs(hypot(*vector) - 1) < 1e-5 for vector in found)
    return found


def cosine(left: Sequence[float], right: Sequence[float]) -> float:
    """How near two vectors of unit length are."""
    return sum(a * b for a, b in zip(left, right, strict=True))


def same(left: Sequence[float], right: Sequence[float]) -> bool:
    """Whether two vectors are equal, but for rounding."""
    return max(abs(a - b) for a, b in zip(left, right, strict=True)) < 1e-5


@call("embeddings: one string or many; a cat is nearer to a kitten than to a carburettor")
def embeddings(client: OpenAI) -> None:
    cat, kitten, carburettor = vectors(client, WORDS)
    assert cosine(cat, kitten) > cosine(cat, carburettor) + 0.2
    for word, batched in zip(WORDS, (cat, kitten, carburettor), strict=True):
        assert same(vectors(client, word)[0], batched)


@call("embeddings: encoding_format float and base64 (which the library asks for by itself)")
def embeddings_encoding(client: OpenAI) -> None:
    by_default, as_floats = vectors(client, "cat")[0], vectors(client, "cat", encoding_format="float")[0]
    assert same(by_default, as_floats)
    raw = client.embeddings.create(model=VECTORS, input="cat", encoding_format="base64").data[0].embedding
    assert isinstance(raw, str)


@call("embeddings: dimensions")
def embeddings_dimensions(client: OpenAI) -> None:
    short, whole = vectors(client, "cat", dimensions=64)[0], vectors(client, "cat")[0]
    assert len(short) == 64
    assert cosine(short, whole[:64]) / hypot(*whole[:64]) > 0.9999
    refused = raises(openai.BadRequestError, lambda: vectors(client, "cat", dimensions=100_000))
    assert refused.param == "dimensions"


@call("embeddings: arrays of tokens, one or many")
def embeddings_tokens(client: OpenAI) -> None:
    told = client.post("/tokenize", body={"model": VECTORS, "content": "cat"}, cast_to=object)
    assert isinstance(told, dict)
    begin, end = 101, 102  # of BERT: tokens are taken as they are
    tokens = told["tokens"] if told["tokens"][0] == begin else [begin, *told["tokens"], end]
    of_text = vectors(client, "cat")[0]
    assert same(vectors(client, tokens)[0], of_text)
    assert all(same(each, of_text) for each in vectors(client, [tokens, tokens]))


@call("embeddings: the asynchronous client")
async def embeddings_async(_: OpenAI) -> None:
    async with AsyncOpenAI() as client:
        answer = await client.embeddings.create(model=VECTORS, input=WORDS)
    assert len(answer.data) == 3


@call("models: list and retrieve")
def models(client: OpenAI) -> None:
    assert {CHAT, VECTORS} <= {model.id for model in client.models.list()}
    model = client.models.retrieve(CHAT)
    assert (model.id, model.object) == (CHAT, "model")


@call("errors: wrong key, unknown model, wrong value, context too long, each as the library's own class")
def errors(client: OpenAI) -> None:
    def ask(made: OpenAI = client, **fields: Any) -> Any:
        return made.chat.completions.create(
            **{"model": CHAT, "messages": [{"role": "user", "content": CAPITAL}], **fields}
        )

    stranger = raises(openai.AuthenticationError, lambda: ask(client.with_options(api_key="sk-wrong")))
    assert stranger.code == "invalid_api_key"
    missing = raises(openai.NotFoundError, lambda: ask(model="gpt-9"))
    assert (missing.code, missing.type) == ("model_not_found", "invalid_request_error")
    wrong = raises(openai.BadRequestError, lambda: ask(temperature=3))
    assert (wrong.param, wrong.type) == ("temperature", "invalid_request_error")
    long = raises(
        openai.BadRequestError, lambda: ask(messages=[{"role": "user", "content": f"{STORY} " * 4000}])
    )
    assert long.code == "context_length_exceeded"
    assert "maximum context length is " in long.message
    unknown = raises(openai.NotFoundError, lambda: client.post("/nowhere", body={}, cast_to=object))
    assert unknown.code == "unknown_url"


@call("raw answers: x-request-id, openai-processing-ms and X-Correlation-ID")
def headers(client: OpenAI) -> None:
    told = client.chat.completions.with_raw_response.create(
        model=CHAT,
        messages=[{"role": "user", "content": CAPITAL}],
        extra_headers={"X-Correlation-ID": "mine-1"},
    )
    assert told.headers["x-correlation-id"] == "mine-1"
    assert told.headers["x-request-id"] == told.parse()._request_id
    assert int(told.headers["openai-processing-ms"]) >= 0


@call("a stream that is closed half-way")
def closed_stream(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "Tell me a long story."}],
        stream=True,
        extra_body={"ignore_eos": True},
        max_tokens=2000,
    )
    next(iter(stream))
    stream.close()
    assert client.models.retrieve(CHAT).id == CHAT


if __name__ == "__main__":
    call.main(lambda: OpenAI(max_retries=0))
