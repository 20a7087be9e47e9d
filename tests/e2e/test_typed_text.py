"""Texts that go on, and models that think, through Envoy: typed, and thoughts in every dialect's own field."""

from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest

from tests.e2e.stack import Stack
from tests.thinker import write_thinker
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb

pytestmark = pytest.mark.e2e

TINY, THINKER = "weft-tiny", "thinker"
THINK = "Say: <think>hm</think> hello"
_SERVICE = "/weft.inference.v1.InferenceService"


class Client:
    """Typed calls and REST of one stack."""

    def __init__(self, stack: Stack, channel: grpc.Channel, http: httpx.Client) -> None:
        self._key = stack.key
        self._channel = channel
        self._http = http

    def steps(self, request: Any) -> list[Any]:
        """Call Chat or Complete, and read to the end."""
        kind = type(request)
        name = kind.__name__.removesuffix("Request")
        response = {"Chat": pb.ChatResponse, "Complete": pb.CompleteResponse}[name]
        rpc = self._channel.unary_stream(f"{_SERVICE}/{name}", kind.SerializeToString, response.FromString)
        return list(rpc(request, metadata=[("authorization", f"Bearer {self._key}")], timeout=30))

    def post(self, path: str, **body: Any) -> Any:
        """Call a dialect, buffered."""
        answer = self._http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def client(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    weights = write_thinker(tmp_path_factory.mktemp("weights") / "thinker.gguf")
    stack.add_model(THINKER, "llama-cpp", parameters={"model": str(weights)}, context_size=512)
    with grpc.insecure_channel(f"127.0.0.1:{stack.port}") as channel, stack.client() as http:
        yield Client(stack, channel, http)


def ask(**fields: Any) -> pb.ChatRequest:
    message = pb.Message(role=pb.ROLE_USER, content=THINK)
    return pb.ChatRequest(
        model=THINKER, messages=[message], sampling=pb.Sampling(temperature=0, max_tokens=64), **fields
    )


def test_a_model_is_known_by_the_name_that_ollamas_list_has_for_it(client: Client) -> None:
    request = ask()
    named = [client.steps(request)]
    request.model = f"{THINKER}:latest"
    named.append(client.steps(request))
    first, second = ("".join(step.delta for step in steps) for steps in named)
    assert first == second != ""


def test_a_text_goes_on_behind_its_echo(client: Client) -> None:
    sampling = pb.Sampling(temperature=0, max_tokens=8, ignore_eos=True, top_logprobs=1)
    plain = client.steps(pb.CompleteRequest(model=TINY, text="Once upon", sampling=sampling))
    assert plain[-1].finish.reason == pb.FINISH_REASON_LENGTH
    assert plain[-1].finish.usage.completion_token_count == 8
    assert plain[0].prompt.prompt_token_count == plain[-1].finish.usage.prompt_token_count > 0
    said = "".join(step.delta for step in plain)
    spelt = b"".join(told.chosen.token_bytes for step in plain for told in step.logprobs)
    assert spelt.decode() == said
    sampling.ClearField("top_logprobs")
    echoed = client.steps(pb.CompleteRequest(model=TINY, text="Once upon", sampling=sampling, echo=True))
    assert "".join(step.delta for step in echoed) == "Once upon" + said


def test_an_echo_has_its_probabilities_too(client: Client) -> None:
    asked = {"model": TINY, "prompt": "Once upon a time", "temperature": 0, "logprobs": 2}
    whole = client.post("/v1/completions", **asked, echo=True, max_tokens=3)["choices"][0]
    told = whole["logprobs"]
    assert "".join(told["tokens"]) == whole["text"]
    assert told["token_logprobs"][0] is told["top_logprobs"][0] is None
    assert all(logprob <= 0 for logprob in told["token_logprobs"][1:])
    only = client.post("/v1/completions", **asked, echo=True, max_tokens=0)
    assert only["choices"][0]["text"] == "Once upon a time"
    assert only["choices"][0]["logprobs"]["token_logprobs"] == told["token_logprobs"][:-3]
    assert only["usage"]["completion_tokens"] == 0


def test_what_does_not_fit_is_refused_in_openais_words(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        client.steps(
            pb.CompleteRequest(model=THINKER, text="word " * 600, sampling=pb.Sampling(max_tokens=9))
        )
    words = "This model's maximum context length is 512 tokens, however you requested "
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details().startswith(words)
    assert refused.value.details().endswith(
        "; 9 for the completion). Please reduce your prompt; or completion length."
    )


def test_a_thought_is_told_apart_and_may_be_switched_off(client: Client) -> None:
    steps = client.steps(ask())
    assert "".join(step.reasoning for step in steps) == "hm"
    assert "<think>" not in "".join(step.delta for step in steps)
    assert steps[-1].finish.usage.reasoning_token_count > 0
    off = client.steps(ask(thinking=pb.Thinking(enabled=False)))
    assert "".join(step.reasoning for step in off) == ""
    prompts = [each[-1].finish.usage.prompt_token_count for each in (steps, off)]
    assert prompts[0] < prompts[1], "the template writes an empty thought"


def test_every_dialect_tells_the_same_thought_in_its_own_field(client: Client) -> None:
    messages = [{"role": "user", "content": THINK}]
    openai = client.post(
        "/v1/chat/completions", model=THINKER, messages=messages, temperature=0, max_tokens=64
    )
    message = openai["choices"][0]["message"]
    assert message["reasoning_content"] == "hm"
    anthropic = client.post(
        "/v1/messages",
        model=THINKER,
        messages=messages,
        temperature=0,
        max_tokens=2048,
        thinking={"type": "enabled", "budget_tokens": 1024},
    )
    thinking, text = anthropic["content"]
    assert (thinking["type"], thinking["thinking"]) == ("thinking", "hm")
    options = {"temperature": 0, "num_predict": 64}
    ollama = client.post(
        "/api/chat", model=THINKER, messages=messages, think=True, stream=False, options=options
    )
    assert ollama["message"]["thinking"] == "hm"
    assert message["content"].strip() == ollama["message"]["content"].strip() == text["text"].strip() != ""
