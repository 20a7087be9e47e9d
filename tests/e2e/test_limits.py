"""A replica computes with the cores, and holds the memory, that its model file allows it."""

import os
from collections.abc import Iterator

import pytest

from tests.e2e.stack import Stack, eventually

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def limited(stack: Stack) -> Iterator[Stack]:
    cores = ("one-core", "another-core")
    for name in cores:
        stack.add_model(name, cpus=1)
    # Its load never ends by itself: whoever looks at memory once a second finds it there.
    greedy = {"memory_mib": "512", "load_gate_file": "/nowhere/gate"}
    stack.add_model("greedy", memory_limit="256MiB", options=greedy)
    stack.add_model("modest", memory_limit="1GiB", options={"memory_mib": "64"})
    yield stack
    for name in cores:
        assert stack.weft("unload", name).returncode == 0  # others compute with these cores


def test_limited_replicas_have_cores_of_their_own(limited: Stack) -> None:
    for name in ("one-core", "another-core"):
        assert limited.chat(name).status_code == 200, limited.logs()
    cores = [
        os.sched_getaffinity(limited.part(f"replica:local/{n}#").pid) for n in ("one-core", "another-core")
    ]
    assert [len(each) for each in cores] == [1, 1]
    if len(os.sched_getaffinity(0)) > 1:
        assert cores[0] != cores[1]


def test_a_replica_that_takes_more_memory_than_it_may_is_ended_and_the_reason_is_told(limited: Stack) -> None:
    assert limited.chat("modest").status_code == 200
    pid = limited.part("replica:local/modest#").pid
    answer = limited.chat("greedy")
    assert answer.status_code == 503
    log = "log/worker-local.log"
    failed = eventually(lambda: limited.records(log, "memory_limit_exceeded"), what="a reason in the log")
    assert "more than its limit of 256MiB (memory_limit)" in str(failed[0]["reason"])
    eventually(lambda: not limited.parts("replica:local/greedy#"), what="its process is gone")
    assert limited.part("replica:local/modest#").pid == pid
    assert limited.chat("modest").status_code == 200
