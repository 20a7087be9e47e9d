"""Models with weights of random bytes, and how far these are on their way to workers."""

import hashlib
import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.stack import NO_TLS, Stack, eventually

MIB = 1 << 20


def add_weights(stack: Stack, name: str, mebibytes: int, **fields: Any) -> Path:
    """A model whose weights are random bytes, so that no two chunks are equal."""
    path = stack.home / "models" / f"{name}.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(MIB))
    stack.add_model(name, parameters={"model": path.name}, **fields)
    return path


def load(stack: Stack, model: str, node: str) -> httpx.Response:
    """Ask for one more replica there, as `weft load` does."""
    with stack.client() as client:
        return client.post("/api/nodes/models/load", json={"model_name": model, "node": node})


def came(stack: Stack) -> dict[str, int]:
    """Bytes that came to workers so far, by where from, over all running routers."""
    counts: dict[str, int] = {}
    ports = json.loads((stack.home / "ports.json").read_text())
    for name, port in ports.items():
        if name.startswith("router-") and name.endswith("-metrics"):
            for line in httpx.get(f"http://127.0.0.1:{port}/metrics", verify=NO_TLS).text.splitlines():
                if line.startswith("weft_staged_bytes_total{"):
                    source = line.partition('source="')[2].partition('"')[0]
                    counts[source] = counts.get(source, 0) + int(float(line.rpartition(" ")[2]))
    return counts


def status(stack: Stack, model: str) -> dict[str, Any]:
    """How far its load is; {} where there is none, or where nobody can say just now."""
    with stack.client() as client:
        answer = client.get(f"/api/models/{model}/load-status")
    found: dict[str, Any] = answer.json()["status"] if answer.status_code == 200 else {}
    return found


def staged(stack: Stack, model: str) -> int:
    """Bytes of its files that are there by now."""
    return int(status(stack, model).get("staged_bytes", 0))


def wait_until_staged(stack: Stack, model: str, mebibytes: int) -> int:
    """Wait until so much is there, and tell how much is."""
    found: int = eventually(
        lambda: (n := staged(stack, model)) >= mebibytes * MIB and n,
        seconds=60,
        what=f"{mebibytes} MiB of {model} staged",
    )
    return found


def kept(stack: Stack, node: str, path: Path) -> str:
    """The digest of a model's file as its engine finds it on a node."""
    (found,) = [p for p in (stack.home / "worker" / node).rglob(path.name) if p.parent.name == "model"]
    return digest(found)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass
class Waiters:
    """Chats that wait for one model, each in a thread of its own."""

    stack: Stack
    model: str
    count: int = 2
    _futures: list[Future[httpx.Response]] = field(default_factory=list)

    def __enter__(self) -> "Waiters":
        self._threads = ThreadPoolExecutor(self.count)
        self._futures = [
            self._threads.submit(self.stack.chat, self.model, "tokens=1") for _ in range(self.count)
        ]
        return self

    def __exit__(self, *reason: object) -> None:
        self._threads.shutdown()

    def answers(self) -> list[tuple[int, str]]:
        """Status and error message of each."""
        found = self.responses()
        return [(a.status_code, a.json().get("error", {}).get("message", "")) for a in found]

    def responses(self) -> list[httpx.Response]:
        """What each was answered, once it was."""
        return [future.result() for future in self._futures]
