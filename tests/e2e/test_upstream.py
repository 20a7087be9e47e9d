"""Models of other servers, through the whole stack: llama.cpp's own HTTP server, and one that misbehaves."""

import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.crowd import chat, crowd
from tests.e2e.stack import ROOT, Stack, eventually
from tests.eye import IMAGE_TOKENS, png, write_projector
from tests.upstreams.llama_server import LlamaServer, llama_server

pytestmark = pytest.mark.e2e

KEY = "sk-upstream-very-secret"
STORY = "Tell me a story."
SLOTS = 2


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "upstream"
    path.write_text(KEY)
    return path


@pytest.fixture(scope="module")
def server(stack: Stack, key_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    """A real one, behind the model `elsewhere`, and `elsewhere-seeing` that is known to take images."""
    projector = write_projector(tmp_path_factory.mktemp("eye") / "eye.gguf")
    with llama_server(KEY, context_size=16_384, projector=str(projector)) as running:
        _add(stack, "elsewhere", running.base_url, key_file=str(key_file))
        _add(stack, "elsewhere-seeing", running.base_url, key_file=str(key_file), vision="true")
        yield running


class Told:
    """The misbehaving one, in a process of its own, and what it noted."""

    def __init__(self, base_url: str, notes: Path) -> None:
        self.base_url, self._notes = base_url, notes

    def noted(self, word: str) -> int:
        return self._notes.read_text().splitlines().count(word) if self._notes.exists() else 0


@pytest.fixture(scope="module")
def told(stack: Stack, key_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """It does as the prompt says, behind the model `told`."""
    notes = tmp_path_factory.mktemp("told") / "notes"
    command = [sys.executable, "-m", "tests.upstreams.misbehaving", KEY, str(notes)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().strip()
        _add(
            stack,
            "told",
            base_url,
            key_file=str(key_file),
            first_token_timeout="0.5s",
            silence_timeout="0.5s",
        )
        _add(stack, "patient", base_url, key_file=str(key_file))
        yield Told(base_url, notes)
        process.kill()


def _add(stack: Stack, name: str, base_url: str, **options: str) -> None:
    options = {"base_url": base_url, "retries": "1", **options}
    stack.add_model(name, "vllm", parameters={"model": "weft-tiny"}, parallel=SLOTS, options=options)


def _events(pieces: Iterator[bytes]) -> list[Any]:
    data = [line[6:] for line in b"".join(pieces).split(b"\n") if line.startswith(b"data: ")]
    return [each if each == b"[DONE]" else json.loads(each) for each in data]


def _text(events: list[Any]) -> str:
    choices = (c for e in events if isinstance(e, dict) for c in e.get("choices", ()))
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def _asked(model: str, prompt: object = STORY, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}


def test_text_and_usage_are_those_of_the_upstream(stack: Stack, server: LlamaServer) -> None:
    body = _asked("weft-tiny", temperature=0, seed=1)
    url, headers = f"{server.base_url}/chat/completions", {"authorization": f"Bearer {KEY}"}
    direct = httpx.post(url, headers=headers, json=body, timeout=30).json()
    whole = stack.chat("elsewhere", STORY, temperature=0, seed=1).json()
    with stack.stream(
        **_asked("elsewhere", temperature=0, seed=1), stream_options={"include_usage": True}
    ) as pieces:
        *events, done = _events(pieces)
    assert done == b"[DONE]"
    text = direct["choices"][0]["message"]["content"]
    assert len(text) > 20
    assert _text(events) == whole["choices"][0]["message"]["content"] == text
    for usage in (whole["usage"], events[-1]["usage"]):
        assert usage["prompt_tokens"] == direct["usage"]["prompt_tokens"]
        assert usage["completion_tokens"] == direct["usage"]["completion_tokens"]


def test_what_nodes_can_run_is_told_and_what_is_remote(stack: Stack) -> None:
    asked = stack.weft("engines", "--json")
    (node,) = (n for n in json.loads(asked.stdout)["nodes"] if n["name"] == "local")
    assert {"openai", "vllm", "ollama"} <= set(node["remote_engines"])
    assert "llama-cpp" in node["engines"]
    assert "engines, remote: litellm, ollama, openai" in stack.weft("engines").stdout
    assert "llama-cpp" in stack.weft("nodes", "show", "local").stdout


def test_tools_are_called_by_the_upstreams_model(stack: Stack, server: LlamaServer) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": parameters}}
    answer = stack.chat("elsewhere", "What is the weather in Paris?", temperature=0, tools=[tool]).json()
    (choice,) = answer["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], call["function"]["name"]) == ("tool_calls", "get_weather")
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}


def test_images_are_shown_to_the_upstreams_model(stack: Stack, server: LlamaServer) -> None:
    url = f"data:image/png;base64,{b64encode(png((200, 0, 0))).decode()}"
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    blind = stack.chat("elsewhere-seeing", "What is this?", max_tokens=1).json()["usage"]["prompt_tokens"]
    with stack.client() as client:
        shown = client.post("/v1/chat/completions", json=_asked("elsewhere-seeing", parts, max_tokens=1))
        refused = client.post("/v1/chat/completions", json=_asked("elsewhere", parts))
    assert shown.json()["usage"]["prompt_tokens"] >= blind + IMAGE_TOKENS
    assert refused.status_code == 400
    assert "can have the option `vision`" in refused.json()["error"]["message"]


def test_an_upstream_that_dies_in_the_middle_ends_the_answer_with_an_error(
    stack: Stack, server: LlamaServer
) -> None:
    with stack.stream(**_asked("elsewhere", ignore_eos=True)) as pieces:
        got = next(pieces)
        server.process.kill()
        *events, last = _events(iter([got, *pieces]))
    assert _text(events)
    assert last["error"]["code"] == "engine_failed", last
    refused = stack.chat("elsewhere")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "part_unavailable"), refused.text


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "buffered"])
@pytest.mark.parametrize("prompt", ["hang", "begin, then hang"])
def test_an_upstream_sees_at_once_that_its_clients_are_gone(
    stack: Stack, told: Told, prompt: str, *, stream: bool
) -> None:
    assert stack.chat("patient").status_code == 200
    asked, hung_up = told.noted("asked"), told.noted("hung up")
    with crowd(stack, [chat("patient", prompt, stream=stream)] * SLOTS) as clients:
        eventually(lambda: told.noted("asked") == asked + SLOTS, what="the upstream asked")
        clients.leave()
    eventually(lambda: told.noted("hung up") == hung_up + SLOTS, seconds=3, what="the upstream told")


def test_a_slow_upstream_is_504(stack: Stack, told: Told) -> None:
    response = stack.chat("told", "hang")
    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded"), (
        response.text
    )


@pytest.mark.parametrize("prompt", ["begin, then hang", "begin, then die", "end without a reason"])
def test_half_an_answer_ends_with_an_error(stack: Stack, told: Told, prompt: str) -> None:
    with stack.stream(**_asked("told", prompt)) as pieces:
        *events, last = _events(pieces)
    assert _text(events) == "Hel"
    assert last["error"]["code"] == "engine_failed"


def test_a_busy_upstream_is_429_for_as_long_as_it_says(stack: Stack, told: Told) -> None:
    response = stack.chat("told", "be busy")
    assert (response.status_code, response.headers["retry-after"]) == (429, "7"), response.text


def test_a_broken_upstream_is_503_in_its_words(stack: Stack, told: Told) -> None:
    response = stack.chat("told", "be broken")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "part_unavailable"), (
        response.text
    )
    assert "CUDA error" in response.text


def test_a_wrong_key_is_the_operators_affair_and_no_key_is_told_anywhere(
    stack: Stack, told: Told, key_file: Path
) -> None:
    wrong = key_file.with_name("wrong")
    wrong.write_text("sk-wrong-key")
    _add(stack, "refused", told.base_url, key_file=str(wrong))
    at_load, later = stack.chat("refused"), stack.chat("told", "refuse the key")
    for response, code in ((at_load, "load_failed"), (later, "part_unavailable")):
        assert (response.status_code, response.json()["error"]["code"]) == (503, code), response.text
        assert "refuses the key" in response.json()["error"]["message"]
    for key in (KEY, "sk-wrong-key"):
        found = subprocess.run(["grep", "-rlF", key, str(stack.home)], capture_output=True, check=False)
        assert (found.returncode, found.stdout) == (1, b""), "no log and no record holds a key"
        assert key not in at_load.text + later.text
