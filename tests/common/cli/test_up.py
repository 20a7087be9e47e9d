"""`weft up`, `down` and `status` as scripts and people use them, with parts that start in a blink."""

import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.common.cli.shell import Shell, running

Eventually = Callable[[Callable[[], bool]], None]


def test_detached_start_returns_when_it_serves_and_down_ends_all(shell: Shell) -> None:
    started = shell.up()
    pids = shell.pids()
    stopped = shell.weft("down")

    assert (started.returncode, stopped.returncode) == (0, 0), started.stderr
    assert set(pids) == {"envoy", "worker-local", "replica:local/tiny#0"}
    assert not [pid for pid in pids.values() if running(pid)]


def test_start_shows_the_url_the_key_and_a_curl_line(shell: Shell) -> None:
    shown = shell.up().stdout
    key = (shell.home / "key").read_text()

    assert f"Weft serves at http://127.0.0.1:{shell.port}" in shown
    assert key in shown
    assert f"curl -N http://127.0.0.1:{shell.port}/v1/chat/completions" in shown
    assert key not in (shell.home / "log" / "up.log").read_text()


def test_start_shows_no_curl_line_that_no_model_could_answer(shell: Shell) -> None:
    models = shell.home / "models"
    models.mkdir(parents=True)
    (models / "minilm.yaml").write_text("name: minilm\nparameters: {model: x.gguf}\nembeddings: true\n")
    shown = shell.up().stdout

    assert f"Weft serves at http://127.0.0.1:{shell.port}" in shown
    assert "chat/completions" not in shown


def test_parts_may_open_as_many_files_as_the_system_lets(shell: Shell) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    here = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (here + 200, hard))
    try:
        shell.up()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert {resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in shell.pids().values()} == {(hard, hard)}


def test_status_keeps_its_contract(shell: Shell) -> None:
    shell.up()
    status = shell.status()

    assert {name: value for name, value in status.items() if name != "parts"} == {
        "url": f"http://127.0.0.1:{shell.port}",
        "key_file": str(shell.home / "key"),
        "join_token_file": str(shell.home / "join-token"),
    }
    assert all(set(part) == {"name", "pid", "state", "address"} for part in status["parts"])
    assert {part["state"] for part in status["parts"]} == {"ready"}
    assert shell.weft("status").returncode == 0


def test_status_of_what_never_ran_is_stopped(shell: Shell) -> None:
    answer = shell.weft("status", "--json")

    assert answer.returncode == 3
    assert {(part["state"], part["pid"]) for part in shell.status()["parts"]} == {("stopped", None)}
    assert not shell.home.exists()


def test_second_start_says_who_is_first(shell: Shell) -> None:
    shell.up()
    again = shell.up()

    assert again.returncode == 1
    assert "weft is already running here: pid " in again.stderr
    assert f"at http://127.0.0.1:{shell.port}" in again.stderr


def test_failed_start_shows_the_end_of_the_parts_log_and_leaves_nothing(shell: Shell) -> None:
    shell.misbehave("fail")
    failed = shell.up()

    assert failed.returncode == 1
    assert "the model folder is upside down" in failed.stderr
    assert not shell.pids()


@pytest.mark.parametrize(
    ("flag", "url", "name"),
    [("--nats-url", "http://x", "WEFT_NATS_URL"), ("--postgres-url", "foo", "WEFT_POSTGRES_URL")],
)
def test_unusable_url_is_refused_at_once(shell: Shell, flag: str, url: str, name: str) -> None:
    failed = shell.up(flag, url)

    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith(f"weft: {name}: ")
    assert not shell.home.exists()


def test_taken_port_is_named_with_its_holder(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", shell.port)):
        failed = shell.up()

    assert failed.returncode == 1
    assert f"envoy needs port {shell.port} of 127.0.0.1, but pid {os.getpid()} (" in failed.stderr
    assert "choose another port with --port" in failed.stderr


def test_ctrl_c_stops_everything(shell: Shell) -> None:
    process = shell.foreground()
    pids = shell.pids()
    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=5) == 0
    assert not [pid for pid in pids.values() if running(pid)]


def test_second_ctrl_c_kills(shell: Shell, eventually: Eventually) -> None:
    shell.misbehave("stubborn")
    process = shell.foreground()
    pids = shell.pids()
    process.send_signal(signal.SIGINT)
    eventually(lambda: not running(pids["envoy"]))
    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=20) == 0
    assert not [pid for pid in pids.values() if running(pid)]


def test_killed_part_is_back_within_a_second(shell: Shell, eventually: Eventually) -> None:
    shell.up()
    first = shell.pids()["envoy"]
    os.kill(first, signal.SIGKILL)
    began = time.monotonic()
    eventually(lambda: shell.pids().get("envoy", first) != first)

    assert time.monotonic() - began < 1.0


def test_killed_supervisor_takes_its_parts_along(shell: Shell, eventually: Eventually) -> None:
    process = shell.foreground()
    pids = shell.pids()
    process.kill()
    process.wait()
    eventually(lambda: not [pid for pid in pids.values() if running(pid)])

    assert shell.up().returncode == 0


@pytest.mark.parametrize("how", ["up", "down"])
def test_orphans_of_a_killed_supervisor_and_agent_are_ended(shell: Shell, how: str) -> None:
    process = shell.foreground()
    pids = shell.pids()
    process.send_signal(signal.SIGSTOP)  # so that it cannot start another agent
    os.kill(pids["worker-local"], signal.SIGKILL)
    process.kill()
    process.wait()
    orphan = pids["replica:local/tiny#0"]
    assert running(orphan)

    shell.up() if how == "up" else shell.weft("down")

    assert not running(orphan)


def test_purge_removes_what_weft_made_and_nothing_else(shell: Shell) -> None:
    shell.up()
    (shell.home / "mine").write_text("")
    purged = shell.weft("down", "--purge")

    assert [path.name for path in shell.home.iterdir()] == ["mine"]
    assert "the folder stays, for it holds other things: mine" in purged.stdout


def test_purge_of_a_home_that_is_weft_s_alone_removes_it(shell: Shell) -> None:
    shell.up()
    shell.weft("down", "--purge")

    assert not shell.home.exists()


def test_down_without_anything_is_no_failure(shell: Shell) -> None:
    answer = shell.weft("down")

    assert (answer.returncode, answer.stdout.startswith("nothing runs")) == (0, True)


def test_parts_go_on_when_nobody_reads_the_output_any_more(shell: Shell, eventually: Eventually) -> None:
    process = shell.foreground(as_json=False)
    assert process.stdout is not None
    process.stdout.close()
    first = shell.pids()["envoy"]
    os.kill(first, signal.SIGKILL)

    eventually(lambda: shell.pids().get("envoy", first) != first)


def test_ctrl_c_during_a_detached_start_ends_it(shell: Shell, eventually: Eventually) -> None:
    shell.misbehave("fail")
    starting = shell.start("up", "-d", "--port", str(shell.port))
    eventually(lambda: "envoy" in shell.pids())
    starting.send_signal(signal.SIGINT)

    assert starting.wait(timeout=5) == 1
    assert not shell.pids()
