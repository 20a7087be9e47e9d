"""`weft up`: starts the parts of this machine, says when they serve, and stops them when asked."""

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import uvloop

from weft_common.cli.detach import run_detached
from weft_common.cli.leftovers import stop_leftovers
from weft_common.cli.news import Failed, News, Serving, Stopped, Stopping, Teller
from weft_common.cli.records import forget_parts
from weft_common.cli.screen import choose
from weft_common.cli.stack import Stack, build_stack, model_to_try, write_first_model
from weft_common.cli.up_options import UpOptions
from weft_common.embedded.probes import http_status
from weft_common.home import Home, StartError, load_secrets, open_home, write_access_files
from weft_common.ports import refuse_taken
from weft_common.run_lock import hold_lock
from weft_common.supervisor import Supervisor
from weft_common.urls import check_nats_url, check_postgres_url

_READY_SECONDS = 60.0
# A gateway begins with what it knew before it ended, which is of replicas that may be gone.
_LEVEL_SECONDS = 20.0
_ANSWER_SECONDS = 20.0
_POLL_SECONDS = 0.05
_INTERRUPTED = 130


def run_up(root: Path, options: UpOptions, *, detached: bool, as_json: bool) -> int:
    """Run until somebody asks for the end, or with `detached` until it serves; return the exit code."""
    _refuse_unusable(options)
    home = open_home(root)
    run = partial(_run, home, options)
    if detached:
        return run_detached(run, choose(as_json=as_json), home.log("up"))
    return run(choose(as_json=as_json))


def _refuse_unusable(options: UpOptions) -> None:
    """Say at once what parts would say after a while, or what would only show in requests that fail."""
    checks = (
        ("WEFT_POSTGRES_URL", options.postgres_url, check_postgres_url),
        ("WEFT_NATS_URL", options.nats_url, check_nats_url),
    )
    for name, url, check in checks:
        try:
            if url is not None:
                check(url)
        except ValueError as error:
            raise StartError(f"{name}: {error}") from None  # its context could quote the URL


def _run(home: Home, options: UpOptions, show: Teller) -> int:
    tell = partial(_tell_if_heard, show)
    _raise_file_limit()
    try:
        # The loop is not that of weft_common.rpc, whose import takes 0.2 s before any part could be started.
        with (
            hold_lock(home.lock, options.url) as now_serving,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            return runner.run(_up(home, options, tell, now_serving))
    except StartError as error:
        tell(Failed(str(error)))
    except ExceptionGroup as group:
        failures, others = group.split(StartError)
        if failures is None or others is not None:
            raise
        tell(Failed(str(_first(failures))))
    return 1


async def _up(home: Home, options: UpOptions, tell: Teller, now_serving: Callable[[], None]) -> int:
    began = asyncio.get_running_loop().time()
    request = _EndRequest(tell)
    try:
        await stop_leftovers(home, every_worker=False)
        forget_parts(home)
        stack = _prepare(home, options)
        supervisor = Supervisor(stack.parts(), records=home.parts, report=tell)
        request.then_kill = supervisor.kill
        async with supervisor.running():
            await supervisor.ready(_READY_SECONDS)
            await supervisor.level(_LEVEL_SECONDS)
            await _answered(home, options)
            now_serving()
            tell(_serving(home, options, asyncio.get_running_loop().time() - began))
            request.is_interruption = False
            await asyncio.Event().wait()
    except asyncio.CancelledError:
        if not request.came:
            raise
    finally:
        await stop_leftovers(home, every_worker=False)
    tell(Stopped())
    return _INTERRUPTED if request.is_interruption else 0


class _EndRequest:
    """Turns the first signal into the end of this task, the second into that of every part. State: which came."""

    def __init__(self, tell: Teller) -> None:
        self.came = False
        self.is_interruption = True
        self.then_kill: Callable[[], None] = lambda: None
        self._tell = tell
        self._task = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        if self.came:
            self.then_kill()
            return
        self.came = True
        self._tell(Stopping())
        if self._task is not None:
            self._task.cancel()


def _tell_if_heard(show: Teller, news: News) -> None:
    """Go on when the terminal or the reader of a pipe is gone: the parts do not depend on it."""
    with contextlib.suppress(OSError):
        show(news)


def _prepare(home: Home, options: UpOptions) -> Stack:
    secrets = load_secrets(home)
    write_access_files(home, secrets)
    write_first_model(home.models)
    environment = dict(os.environ)  # noqa: TID251 (the parts read settings of their own from it)
    try:
        stack = build_stack(home, options, secrets, environment)
    except FileNotFoundError as error:  # of a wheel, or of what `make gen` makes
        raise StartError(str(error)) from error
    for name, host, port in stack.listeners():
        refuse_taken(name, host, port, advice=_advice(home, name))
    return stack


def _advice(home: Home, name: str) -> str:
    if name == "envoy":
        return "stop it, or choose another port with --port"
    return f"stop it, or remove {home.ports} so that new ports are drawn"


async def _answered(home: Home, options: UpOptions) -> None:
    """Wait for one request to go all the way. A refusal by the gateway is an answer too: keys are its owner's."""
    headers = {"authorization": f"Bearer {home.key.read_text().strip()}"}
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _ANSWER_SECONDS
    while loop.time() < deadline:
        answer = await http_status(options.host, options.port, "/v1/models", headers)
        if answer in (200, 401, 403):
            return
        await asyncio.sleep(_POLL_SECONDS)
    raise StartError(
        f"all parts are ready, but {options.url}/v1/models answers {answer or 'nothing'}: see {home.logs}"
    )


def _serving(home: Home, options: UpOptions, seconds: float) -> Serving:
    model = model_to_try(home.models)
    return Serving(options.url, options.join_url, str(home.key), str(home.join_token), model, seconds)


def _raise_file_limit() -> None:
    """Every open stream is a file descriptor or two; the parts inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _first(group: BaseExceptionGroup[StartError]) -> StartError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
