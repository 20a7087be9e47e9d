"""llama.cpp's own HTTP server with weft-tiny, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SLOTS = 2


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """Where it listens, with its process, whose death closes every connection."""

    base_url: str
    process: "subprocess.Popen[str]"


@contextmanager
def llama_server(
    key: str, context_size: int = 512, slot_count: int = SLOTS, projector: str = ""
) -> Iterator[LlamaServer]:
    """Run it for the block, with so many tokens for each of its slots; with a projector it sees."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.upstreams.llama_server",
            key,
            str(context_size),
            str(slot_count),
            projector,
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address.startswith("http://"), "llama.cpp's server did not start"
            yield LlamaServer(f"{address}/v1", process)
        finally:
            process.kill()


def _serve(key: str, context_size: int, slot_count: int, projector: str) -> None:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(ROOT / "worker/weft_worker/models/weft-tiny.gguf")
    if projector:
        parameters.mmproj.path, parameters.mmproj_use_gpu = projector, False
    parameters.model_alias = {"weft-tiny"}
    parameters.n_ctx, parameters.n_parallel = context_size * slot_count, slot_count
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.warmup = parameters.ui = parameters.endpoint_slots = False
    parameters.cache_ram_mib = 0
    parameters.endpoint_metrics = True
    parameters.prefill_assistant = False
    parameters.api_keys = [key]
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.read()  # until whoever started it is gone
    os._exit(0)  # its threads would be waited for


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
