"""How the calls of a client library are listed, and run by its own interpreter: one line of JSON tells of each.

This module knows nothing but the standard library, since some clients have an environment of their own.
"""

import argparse
import asyncio
import inspect
import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CHAT = "weft-tiny"
VECTORS = "sdk-vectors"
EYE = "sdk-eye"
THINKER = "sdk-thinker"
RED_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAABgAAAAYCAIAAABvFaqvAAAAIElEQVR4nGP4z8BAFUQdU0YNGjVo1KBRg0YNGjWIIgQABMo93z5bbNQAAAAASUVO"
    "RK5CYII="
)
CAPITAL = "What is the capital of France?"
# The thinker thinks what it is told to, and says more or less the rest.
THOUGHT = "Say: <think>hm</think> hello"
STORY = "Tell me a story."


@dataclass(frozen=True)
class Call:
    """One documented feature in use; `run` fails where the answer is not right."""

    name: str
    feature: str
    run: Callable[..., Any]


class Calls:
    """The calls of one client library; state: the calls so far."""

    def __init__(self) -> None:
        self._calls: list[Call] = []

    def __call__(self, feature: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """List a function as the call that uses this feature."""

        def listed(run: Callable[..., Any]) -> Callable[..., Any]:
            self._calls.append(Call(run.__name__, feature, run))
            return run

        return listed

    def main(self, make_client: Callable[[], Any]) -> None:
        """Run those that are named, or all; base URL and key come from the library's own environment variables."""
        parser = argparse.ArgumentParser()
        parser.add_argument("names", nargs="*")
        wanted = parser.parse_args().names
        client = make_client()
        for call in self._calls:
            if not wanted or call.name in wanted:
                _tell(call, client)


def raises(error: type[Exception], run: Callable[[], Any]) -> Any:
    """Expect an error and return it."""
    try:
        run()
    except error as raised:
        return raised
    raise AssertionError(f"no {error.__name__} was raised")


def _tell(call: Call, client: Any) -> None:
    begun, problem = time.monotonic(), ""
    try:
        outcome = call.run(client)
        if inspect.isawaitable(outcome):
            asyncio.run(outcome)
    except Exception as error:  # noqa: BLE001 - whatever it is, the next call is not to suffer
        problem = _told(error)
    seconds = round(time.monotonic() - begun, 3)
    print(json.dumps({"call": call.name, "problem": problem, "seconds": seconds}), flush=True)


def _told(error: Exception) -> str:
    """The story of a failure, with what the variables of the call were: `assert` alone would not say."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    own = [frame for frame in told.stack if "/clients/" in frame.filename]
    values = [f"{name} = {value[:400]}" for name, value in (own[-1].locals or {}).items()] if own else []
    return "".join(["".join(traceback.format_exception(error)), "\n".join(values)])
