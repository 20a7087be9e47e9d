"""What callers send is not written down by the library, and its last words are."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.worker.engines.answers import WEFT_TINY, ask
from weft_common.errors import InvalidRequest
from weft_worker.engines.base import (
    EngineModel,
    Generation,
    GrammarForm,
    Message,
    Role,
    Sampling,
    Tool,
    Tools,
)
from weft_worker.engines.llamacpp.engine import LlamaCppEngine

SECRET = "QUINCE"
ASKED = (Message(Role.USER, SECRET),)
# It has no anchors, which the library has to say of it.
PATTERN = f'{{"type": "object", "properties": {{"{SECRET}": {{"type": "string", "pattern": "{SECRET}"}}}}}}'
ABORT = """
import ctypes, xllamacpp
from weft_worker.engines.llamacpp.hush import hush
hush()
ctypes.CDLL(None).perror(b"unsaid")
ctypes.CDLL(xllamacpp.xllamacpp.__file__).ggml_abort(b"place.cpp", 7, b"%s", b"a condition")
"""


@pytest_asyncio.fixture
async def engine() -> AsyncIterator[LlamaCppEngine]:
    engine = LlamaCppEngine()
    await engine.load(EngineModel("weft-tiny", str(WEFT_TINY), 512, slot_count=1), lambda _: None)
    yield engine
    await engine.close()


async def test_a_grammar_and_a_schema_stay_out_of_the_log(
    engine: LlamaCppEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    broken = Generation(ASKED, Sampling(max_tokens=1), GrammarForm(f'root ::= "{SECRET}" nowhere'))
    with pytest.raises(InvalidRequest, match="grammar"):
        await ask(engine, broken)
    offered = Generation(ASKED, Sampling(max_tokens=1), tools=Tools((Tool("find", SECRET, PATTERN),)))
    await ask(engine, offered)
    os.write(2, b"heard\n")
    said = capfd.readouterr()
    assert said.err == "heard\n"
    assert SECRET not in said.out


def test_why_the_library_ends_the_process_is_told() -> None:
    done = subprocess.run([sys.executable, "-c", ABORT], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (-signal.SIGABRT, "place.cpp:7: a condition\n")
