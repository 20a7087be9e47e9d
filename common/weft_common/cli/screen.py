"""How a start looks: to a person at a terminal, in a plain file, or to a script."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import assert_never

from weft_common.cli.news import Failed, News, Serving, Stopped, Stopping, Teller
from weft_common.part import PartState
from weft_common.supervisor import PartChanged


def choose(*, as_json: bool) -> Teller:
    """Return what shows news: one document for scripts, colours on a terminal, plain lines elsewhere."""
    if as_json:
        return _tell_script
    return Terminal().tell if sys.stdout.isatty() else tell_plainly


def tell_plainly(news: News) -> None:
    """Print news as lines of text."""
    if text := _sentence(news):
        print(text, file=sys.stderr if isinstance(news, Failed) else sys.stdout, flush=True)


def tell_log(news: News) -> None:
    """Print news with the time and without the key, for a file."""
    now = datetime.now().astimezone().isoformat(timespec="milliseconds")
    text = f"serving at {news.url}" if isinstance(news, Serving) else _sentence(news)
    if text:
        print(f"{now} {text}", flush=True)


class Terminal:
    """Shows news in colour. State: the parts still awaited, named beside the spinner."""

    def __init__(self) -> None:
        # Imported late: rich takes longer to import than everything else that a command without a terminal needs.
        from rich.console import Console

        self._console = Console(highlight=False)
        self._spinner = self._console.status("starting", spinner="dots")
        self._spinner.start()
        self._awaited: dict[str, None] = {}

    def tell(self, news: News) -> None:
        """Show one piece of news."""
        match news:
            case PartChanged():
                self._follow(news)
            case Serving() | Stopped() | Failed():
                self._spinner.stop()
            case Stopping():
                self._spinner.update("stopping; Ctrl-C again kills")
                self._spinner.start()
            case _:
                assert_never(news)
        if text := _sentence(news):
            self._console.print(text, style=_style(news), markup=False, soft_wrap=True)

    def _follow(self, news: PartChanged) -> None:
        if news.state is PartState.STARTING:
            self._awaited[news.name] = None
        else:
            self._awaited.pop(news.name, None)
        self._spinner.update(f"waiting for {', '.join(self._awaited)}" if self._awaited else "")


def _tell_script(news: News) -> None:
    match news:
        case Serving():
            print(
                json.dumps(
                    {"url": news.url, "key_file": news.key_file, "join_token_file": news.join_token_file}
                )
            )
        case Failed():
            print(f"weft: {news.reason}", file=sys.stderr)
        case PartChanged() | Stopping() | Stopped():
            return
        case _:
            assert_never(news)
    sys.stdout.flush()


def _sentence(news: News) -> str:
    match news:
        case PartChanged(name, PartState.READY, pid, _):
            return f"{name} ready (pid {pid})"
        case PartChanged(name, state, _, detail):
            return f"{name} {state}: {detail}" if detail else ""
        case Serving():
            return _invitation(news)
        case Stopping():
            return "stopping"
        case Stopped():
            return "stopped"
        case Failed():
            return f"weft: {news.reason}"
        case _:
            assert_never(news)


def _style(news: News) -> str:
    match news:
        case PartChanged(_, PartState.READY, _, _) | Serving():
            return "green"
        case PartChanged():
            return "yellow"
        case Stopping() | Stopped():
            return "dim"
        case Failed():
            return "red"
        case _:
            assert_never(news)


def _invitation(news: Serving) -> str:
    return "\n".join(
        (
            "",
            f"Weft serves at {news.url} after {news.seconds:.1f} s",
            f"  key     {Path(news.key_file).read_text().strip()}",
            *(() if news.model is None else (_try_line(news, news.model),)),
            f"  join    weft worker --register-to {news.join_url} "
            f"--registration-token \"$(cat '{news.join_token_file}')\" --node-name NAME",
            "          and then, here: weft nodes approve NAME",
            "",
        )
    )


def _try_line(news: Serving, model: str) -> str:
    body = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": "Hello"}]})
    return (
        f"  try     curl -N {news.url}/v1/chat/completions -H 'Content-Type: application/json' "
        f"-H \"Authorization: Bearer $(cat '{news.key_file}')\" -d '{body}'"
    )
