"""The command `weft` with parts of a few lines in place of the services: starts in a blink, fails on order.

WEFT_HOME may hold a file `misbehave` with one word: `fail` (a part exits at once), `stubborn` (one ignores SIGTERM).
"""

import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from weft_common import supervisor
from weft_common.cli import up
from weft_common.cli.app import main
from weft_common.cli.up_options import UpOptions
from weft_common.embedded.probes import accepts
from weft_common.home import Home, Secrets
from weft_common.part import Part, Stage
from weft_common.process import Command

DOOR = """
import http.server, sys
class Door(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "2"); self.end_headers(); self.wfile.write(b"{}")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Door).serve_forever()
"""
# An agent with one replica, which is in a session of its own and outlives a killed agent, as real ones do.
WORKER = """
import json, os, pathlib, signal, subprocess, sys, time
def note(file, name, pid):
    started = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    record = {"name": name, "pid": pid, "start_time": started, "state": "ready", "address": "127.0.0.1:2"}
    file.write_text(json.dumps(record))
state = pathlib.Path(sys.argv[1])
(state / "replicas").mkdir(parents=True, exist_ok=True)
replica = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
def stop(*_):
    replica.kill(); (state / "replicas" / "r.json").unlink(); raise SystemExit
signal.signal(signal.SIGTERM, stop)
note(state / "replicas" / "r.json", "replica:local/tiny#0", replica.pid)
note(state / "agent.json", "worker-local", os.getpid())
(state / "ready").touch()
time.sleep(600)
"""
STORE = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
FAIL = "import time; time.sleep(0.1); raise SystemExit('the model folder is upside down')"


class TinyStack:
    """Stands where the real stack stands in `weft up`."""

    def __init__(self, home: Home, options: UpOptions, _: Secrets, environment: Mapping[str, str]) -> None:
        self._home = home
        self._options = options
        self._environment = environment

    def listeners(self) -> tuple[tuple[str, str, int], ...]:
        return (("envoy", "127.0.0.1", self._options.port),)

    def parts(self) -> tuple[Part, ...]:
        order = self._home.root / "misbehave"
        word = order.read_text() if order.exists() else ""
        if word == "stubborn":
            supervisor._GRACE_SECONDS[Stage.STORES] = (
                60.0  # so that nothing but haste ends it while a test waits
            )
        state = self._home.worker("local")
        worker = self._part(
            "worker-local", Stage.WORKERS, WORKER, str(state), ready=partial(_exists, state / "ready")
        )
        door = self._part(
            "envoy",
            Stage.DOORS,
            DOOR,
            str(self._options.port),
            ready=partial(accepts, "127.0.0.1", self._options.port),
        )
        more = {
            "stubborn": (self._part("nats", Stage.STORES, STORE, ready=_yes),),
            "fail": (self._part("router-0", Stage.DOORS, FAIL, ready=_no),),
        }
        return (worker, door, *more.get(word, ()))

    def _part(self, name: str, stage: Stage, code: str, *arguments: str, ready: object) -> Part:
        argv = (sys.executable, "-c", code, *arguments)
        command = Command(argv, self._environment, log=self._home.log(name), death_signal=signal.SIGTERM)
        return Part(name, "127.0.0.1:1", command, ready, stage)  # type: ignore[arg-type]


async def _exists(path: Path) -> bool:
    return path.exists()


async def _no() -> bool:
    return False


async def _yes() -> bool:
    return True


if __name__ == "__main__":
    up.build_stack = TinyStack  # type: ignore[assignment]
    main()
