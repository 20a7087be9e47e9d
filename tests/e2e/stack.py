"""A whole Weft on this machine, driven as a user drives it: by the `weft` command and its JSON."""

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from weft_common.cli.status import document, merged
from weft_common.home import Home
from weft_common.run_lock import read_owner

WEFT = Path(sys.executable).parent / "weft"
BUF = Path(sys.executable).parent / "buf"
ROOT = Path(__file__).resolve().parents[2]
# What httpx would read certificates for otherwise, 30 ms of a core for each client: tests look all the time.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
# On the way out, as their commands know it; the session ends when they have.
_LEAVING: list[subprocess.Popen[bytes]] = []


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(check: Any, *, seconds: float = 10.0, what: str = "") -> Any:
    """Poll until `check` returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or check}"
        time.sleep(0.05)


def wait_until_left() -> None:
    """Wait for all stacks that leave."""
    for process in _LEAVING:
        assert process.wait(60) == 0, f"{process.args} failed"
    _LEAVING.clear()


@dataclass
class Part:
    """One line of `weft status`; the same process is the same part, in whatever state."""

    name: str
    pid: int
    state: str = field(compare=False)
    address: str
    problem: str = field(default="", compare=False)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the process that does the work."""
        os.kill(self.pid, number)


@dataclass
class Stack:
    """A running (or stopped) Weft in a home of its own."""

    home: Path
    port: int

    def weft(self, *arguments: str, timeout: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the `weft` command."""
        return subprocess.run(
            [str(WEFT), *arguments],
            env={**os.environ, "WEFT_HOME": str(self.home), **env},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def up(self, *arguments: str, **env: str) -> None:
        """Start and wait until it serves."""
        done = self.weft("up", "-d", "--port", str(self.port), *arguments, timeout=90, **env)
        assert done.returncode == 0, f"weft up failed:\n{done.stdout}\n{done.stderr}\n{self.logs()}"

    def down(self) -> None:
        """Stop everything."""
        self.weft("down")

    def leave(self) -> None:
        """Stop everything for good, the database with it that root keeps outside of the home; whoever comes next need
        not wait for that."""
        command = [str(WEFT), "down", "--purge"]
        env = {**os.environ, "WEFT_HOME": str(self.home)}
        quiet = subprocess.DEVNULL
        _LEAVING.append(subprocess.Popen(command, env=env, stdin=quiet, stdout=quiet, stderr=quiet))

    @contextlib.contextmanager
    def second_worker(self, name: str, **env: str) -> Iterator["Worker"]:
        """`weft worker` on this machine, in the same home, until the block is left."""
        worker = Worker(self, name, env)
        worker.start()
        try:
            yield worker
        finally:
            worker.end()

    @contextlib.contextmanager
    def more_workers(self, workers: Mapping[str, Mapping[str, str]], **env: str) -> Iterator[None]:
        """Several of them by name, with settings of their own, which start together."""
        made = [Worker(self, name, {**env, **own}) for name, own in workers.items()]
        with ThreadPoolExecutor(len(made)) as at_once, contextlib.ExitStack() as ends:
            starts = [at_once.submit(worker.start) for worker in made]
            wait(starts)
            for worker in made:
                ends.callback(worker.end)
            for start in starts:
                start.result()
            yield

    def logs(self) -> str:
        """The ends of all logs, for a failure's report."""
        files = sorted(p for p in self.home.rglob("*.log") if p.is_file() and p.stat().st_size)
        return "\n".join(f"--- {f}\n{f.read_text(errors='replace')[-3000:]}" for f in files)

    def status(self) -> dict[str, Any]:
        """What `weft status --json` prints, without a process for each look: tests look all the time."""
        home = Home(self.home)
        told: dict[str, Any] = json.loads(json.dumps(document(home, read_owner(home.lock), merged(home))))
        return told

    def parts(self, prefix: str = "") -> list[Part]:
        """Running parts whose name begins so."""
        return [
            Part(**p)
            for p in self.status()["parts"]
            if p["name"].startswith(prefix) and p["state"] != "stopped"
        ]

    def part(self, prefix: str) -> Part:
        """The one part whose name begins so."""
        (part,) = self.parts(prefix)
        return part

    def gateways_asked(self) -> set[str]:
        """Gateways that pass Envoy's own checks, which are a moment later than a part that says it is ready."""
        port = json.loads((self.home / "ports.json").read_text())["envoy-admin"]
        lines = httpx.get(f"http://127.0.0.1:{port}/clusters", verify=NO_TLS).text.splitlines()
        flags = (line.split("::") for line in lines if "::health_flags::" in line)
        return {
            address for cluster, address, _, health in flags if (cluster, health) == ("gateways", "healthy")
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def key(self) -> str:
        return (self.home / "key").read_text().strip()

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    def client(self, **options: Any) -> httpx.Client:
        """A plain HTTP client with the key."""
        return httpx.Client(
            base_url=self.url, headers=self.headers, timeout=60, verify=NO_TLS, trust_env=False, **options
        )

    def chat(self, model: str = "weft-tiny", prompt: str = "Hello", **fields: Any) -> httpx.Response:
        """One buffered chat."""
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}
        with self.client() as client:
            return client.post("/v1/chat/completions", json=body)

    @contextlib.contextmanager
    def stream(self, model: str, *, http2: bool = False, **fields: Any) -> Iterator[Iterator[bytes]]:
        """One streamed chat as its raw pieces."""
        body = {"model": model, "messages": [{"role": "user", "content": "go"}], "stream": True, **fields}
        with (
            self.client(http1=not http2, http2=http2) as client,
            client.stream("POST", "/v1/chat/completions", json=body) as response,
        ):
            assert response.status_code == 200, response.read()
            yield response.iter_raw()

    def buf_curl(
        self, path: str, *arguments: str, key: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`buf curl` with reflection through Envoy, with another key than the good one if told so."""
        auth = f"authorization: Bearer {key or self.key}"
        command = [str(BUF), "curl", "--protocol", "grpc", "--http2-prior-knowledge", "-H", auth]
        return subprocess.run(
            [*command, "--reflect-header", auth, *arguments, f"{self.url}{path}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def write_model(self, name: str, backend: str = "paced", **fields: Any) -> None:
        """Write a model file; written before `up`, it is in the catalog from the start."""
        document = {"name": name, "backend": backend, "parameters": {"model": "none"}, **fields}
        (self.home / "models").mkdir(parents=True, exist_ok=True)
        (self.home / "models" / f"{name}.yaml").write_text(json.dumps(document))

    def add_model(self, name: str, backend: str = "paced", **fields: Any) -> None:
        """Write a model file and wait until it is in the catalog."""
        self.write_model(name, backend, **fields)

        def listed() -> bool:
            with self.client() as client:
                return client.get(f"/v1/models/{name}").status_code == 200

        eventually(listed, what=f"{name} in the catalog")

    def waiting(self, model: str) -> int:
        """How many requests wait for a slot of a model at the router."""
        with self.client() as client:
            queues = client.get("/api/queues").json()["queues"]
        return sum(queue["waiting_count"] for queue in queues if queue["model"] == model)

    def load(self, model: str, node: str) -> None:
        """Load one more replica of a model, as `weft load` does; a node that has just lost one has to say so first."""

        def loaded() -> bool:
            with self.client() as client:
                answer = client.post("/api/nodes/models/load", json={"model_name": model, "node": node})
            assert answer.status_code in (200, 503), f"{answer.text}\n{self.logs()}"
            return answer.status_code == 200

        eventually(loaded, what=f"{model} loaded on {node}")

    def records(self, pattern: str, event: str = "") -> list[dict[str, Any]]:
        """The JSON lines of the logs that match, all or those of one event, oldest first."""
        lines = (line for file in self.home.glob(pattern) for line in file.read_text().splitlines())
        # By the text first: logs are long, and looked at often.
        whole = (line for line in lines if event in line and line.startswith("{") and line.endswith("}"))
        found = [json.loads(line) for line in whole]
        return sorted(
            (record for record in found if not event or record["event"] == event), key=lambda r: str(r["ts"])
        )


class Worker:
    """`weft worker` started by hand, so that nobody restarts it. State: its process."""

    def __init__(self, stack: Stack, name: str, env: dict[str, str]) -> None:
        self._stack = stack
        self._name = name
        self._env = {**os.environ, "WEFT_HOME": str(stack.home), **env}

    def start(self) -> None:
        """Start it and wait until it is ready."""
        token = (self._stack.home / "join-token").read_text().strip()
        flags = {
            "--register-to": self._stack.url,
            "--registration-token": token,
            "--node-name": self._name,
            "--addr": self._env.get("WEFT_ADDR", "127.0.0.1:0"),
        }
        words = [word for flag in flags.items() for word in flag]
        with (self._stack.home / "log" / f"worker-{self._name}.log").open("ab") as log:
            self._process = subprocess.Popen([str(WEFT), "worker", *words], env=self._env, stderr=log)
        eventually(self._ready, what=f"{self._name} ready", seconds=30)

    def kill(self) -> None:
        """End it without a word; its replicas go on."""
        self._process.kill()
        self._process.wait(10)

    def end(self) -> None:
        """End it and its replicas."""
        self._process.terminate()
        self._process.wait(10)

    def _ready(self) -> bool:
        assert self._process.poll() is None, self._stack.logs()
        return any(part.state == "ready" for part in self._stack.parts(f"worker-{self._name}"))
