"""The loop that every process runs on, seen from a process of its own."""

import os
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, os, signal
from weft_common.rpc.runtime import run, stop_on_signals

async def main():
    stop = stop_on_signals()
    print(type(asyncio.get_running_loop()).__module__, flush=True)
    await stop.wait()
    return "stopped"

print(run(main()))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_runs_on_uvloop_and_ends_on_a_signal(number):
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "uvloop\n"
        os.kill(process.pid, number)
        out, _ = process.communicate(timeout=10)
    assert (out, process.returncode) == ("stopped\n", 0)
