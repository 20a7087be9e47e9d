"""What is left of each library's speed behind our engine and behind the whole stack, in the same run and by turns.

Prints the rows of docs/benchmarks.md. Engines that need what is not installed are left out: with torch they are
measured by `pytest -m bench` in the environment of `make test-torch`.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.bench.benched import BENCHED, Benched, Source
from tests.e2e.stack import Stack, free_port

pytestmark = pytest.mark.bench

MODEL = "stories"
LEAST_SHARES = {"llama-cpp": 0.9}
HEAD = (
    "| engine, at once | library alone | our engine | the whole stack | CPU a token: library, replica "
    "| first token: library, stack | memory: library, replica |"
)

Figures = dict[str, float]


def told(mode: str, benched: Benched, at_once: int, count: int, **fields: Any) -> Figures:
    asked = {"mode": mode, "engine": benched.label, "at_once": at_once, "count": count, **fields}
    command = [sys.executable, "-m", "tests.bench.generating", json.dumps(asked)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=300)
    figures: Figures = json.loads(done.stdout)
    return figures


@dataclass(frozen=True, slots=True)
class Bench:
    """One engine with what it loads, and a stack that serves the same."""

    benched: Benched
    source: Source
    stack: Stack

    def best(self, at_once: int, count: int, rounds: int) -> dict[str, Figures]:
        """The best run of each, by tokens a second: what disturbs a run never makes it faster."""
        source = {"source": asdict(self.source)}
        runs: dict[str, list[Figures]] = {"library": [], "engine": [], "stack": []}
        for _ in range(rounds):
            runs["library"].append(told("library", self.benched, at_once, count, **source))
            runs["engine"].append(told("engine", self.benched, at_once, count, **source))
            runs["stack"].append(self._through(at_once, count))
        return {name: max(found, key=lambda run: run["tokens_per_second"]) for name, found in runs.items()}

    def _through(self, at_once: int, count: int) -> Figures:
        """The client's figures, with the processor time and memory of the replica."""
        replica = psutil.Process(self.stack.part("replica:").pid)
        before = replica.cpu_times()
        address, key = self.stack.url.removeprefix("http://"), self.stack.key
        figures = told("client", self.benched, at_once, count, address=address, key=key, model=MODEL)
        after = replica.cpu_times()
        cpu_seconds = after.user + after.system - before.user - before.system
        # One more warms up.
        figures["cpu_us_per_token"] = cpu_seconds / ((count + 1) * self.benched.token_count) * 1e6
        figures["memory_mib"] = replica.memory_info().rss / 2**20
        return figures


@contextmanager
def bench(benched: Benched, folder: Path) -> Iterator[Bench]:
    stack = Stack(folder / "home", free_port())
    with benched.source(folder) as source:
        stack.write_model(MODEL, benched.name, **source.fields())
        stack.up(WEFT_LOAD_WAIT="60s")
        try:
            assert stack.chat(MODEL, "Hi", max_tokens=1).status_code == 200, stack.logs()
            yield Bench(benched, source, stack)
        finally:
            stack.weft("down", "--purge")


def row(name: str, at_once: int, best: dict[str, Figures]) -> str:
    library, engine, stack = best["library"], best["engine"], best["stack"]
    speed = library["tokens_per_second"]
    return (
        f"| {name}, {at_once} | {speed:,.0f} tokens/s | {engine['tokens_per_second'] / speed:.2f} "
        f"| {stack['tokens_per_second'] / speed:.2f} "
        f"| {library['cpu_us_per_token']:,.0f}, {stack['cpu_us_per_token']:,.0f} µs "
        f"| {library['first_ms']:,.1f}, {stack['first_ms']:,.1f} ms "
        f"| {library['memory_mib']:,.0f}, {stack['memory_mib']:,.0f} MiB |"
    )


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", BENCHED)
def test_what_the_stack_leaves_of_the_library(name: str, tmp_path: Path) -> None:
    benched = BENCHED[name]
    if not benched.is_there():
        pytest.skip(f"{', '.join(benched.needs)}: not installed")
    shares = {}
    with bench(benched, tmp_path) as opened:
        print(f"\n{HEAD}\n|{'---|' * (HEAD.count('|') - 1)}")
        for at_once, count, rounds in benched.loads:
            best = opened.best(at_once, count, rounds)
            print(row(name, at_once, best), flush=True)
            shares[at_once] = best["stack"]["tokens_per_second"] / best["library"]["tokens_per_second"]
    least = LEAST_SHARES.get(benched.name, 0)
    assert all(share >= least for share in shares.values()), shares
