"""The agent with the fake backend, as a process that a test can kill."""

import functools
import sys
from pathlib import Path

from weft_common.entry import start
from weft_worker.agent.app import run
from weft_worker.settings import WorkerSettings

FAKE_BACKEND = (sys.executable, "-S", str(Path(__file__).with_name("fake_backend.py")))

if __name__ == "__main__":
    sys.exit(start("worker", WorkerSettings, functools.partial(run, backend_command=FAKE_BACKEND)))
