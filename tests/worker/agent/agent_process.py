"""The agent, with the fake backend unless FAKE_BACKEND=no, as a process that a test can kill."""

import functools
import os
import sys
from pathlib import Path

from weft_common.entry import start
from weft_worker.agent.app import run
from weft_worker.agent.launcher import BACKEND_COMMAND
from weft_worker.settings import WorkerSettings

FAKE_BACKEND = (sys.executable, "-S", str(Path(__file__).with_name("fake_backend.py")))

if __name__ == "__main__":
    command = BACKEND_COMMAND if os.environ.get("FAKE_BACKEND") == "no" else FAKE_BACKEND
    sys.exit(start("worker", WorkerSettings, functools.partial(run, backend_command=command)))
