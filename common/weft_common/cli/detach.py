"""Leaves a process running behind, after its start was watched to the end."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from weft_common.cli.news import Failed, News, Serving, Stopped, Teller, decode, encode
from weft_common.cli.screen import tell_log
from weft_common.process_log import open_log, tail


def run_detached(run: Callable[[Teller], int], tell: Teller, log: Path) -> int:
    """Run in a process of its own session; return 0 once it serves, 1 when it failed.

    Forked twice, so that it belongs to no terminal. Both happens before there is any thread or event loop.
    """
    sys.stdout.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        _become_background(run, writer, log)
    os.close(writer)
    os.waitpid(child, 0)
    return _watch(reader, tell, log)


def _become_background(run: Callable[[Teller], int], writer: int, log: Path) -> None:
    """Run and exit; never returns into the code of the command that was typed."""
    code = 1
    try:
        output = open_log(log)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, number in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(descriptor, number)
        os.chdir("/")
        os.write(writer, b"%d\n" % os.getpid())
        code = run(_Pipe(writer).tell)
    except BaseException:  # noqa: BLE001 (the outermost edge of this process: nobody else could report it)
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class _Pipe:
    """Tells news to the log, and to whoever waits for the start as long as it does. State: the pipe's end."""

    def __init__(self, writer: int) -> None:
        self._writer: int | None = writer

    def tell(self, news: News) -> None:
        tell_log(news)
        if self._writer is None:
            return
        try:
            os.write(self._writer, encode(news))
        except BrokenPipeError:
            self._close()
        else:
            if isinstance(news, Serving):
                self._close()

    def _close(self) -> None:
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None


def _watch(reader: int, tell: Teller, log: Path) -> int:
    """Show news until the start is over; Ctrl-C meanwhile ends what was being started."""
    outcome: Serving | Stopped | Failed | None = None
    with os.fdopen(reader, "rb") as lines:
        starter = int(lines.readline() or 0)
        while outcome is None:
            try:
                line = lines.readline()
            except KeyboardInterrupt:
                if starter:
                    os.kill(starter, signal.SIGTERM)
                continue
            news = decode(line) if line else Failed(f"nothing serves; the end of {log}:\n{tail(log)}")
            tell(news)
            outcome = news if isinstance(news, Serving | Stopped | Failed) else None
    return 0 if isinstance(outcome, Serving) else 1
