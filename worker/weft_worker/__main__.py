"""Run a worker's agent: `python -m weft_worker`, told by WEFT_ variables."""

import sys

from weft_common.entry import start
from weft_worker.agent.app import run
from weft_worker.settings import WorkerSettings

if __name__ == "__main__":
    sys.exit(start("worker", WorkerSettings, run))
