"""News crosses a pipe unchanged and reads well."""

from pathlib import Path

import pytest

from weft_common.cli.news import Failed, News, Serving, Stopping, decode, encode
from weft_common.cli.screen import choose, tell_plainly
from weft_common.part import PartState
from weft_common.supervisor import PartChanged

SERVING = Serving(
    "http://127.0.0.1:8080", "http://10.0.0.1:8080", "/h/key", "/h/join-token", "weft-tiny", 1.5
)


@pytest.mark.parametrize(
    "news", [PartChanged("nats", PartState.READY, 7, "x"), SERVING, Stopping(), Failed("two\nlines")]
)
def test_news_crosses_a_pipe_unchanged(news: News) -> None:
    line = encode(news)

    assert decode(line) == news
    assert line.count(b"\n") == 1


def test_parts_are_lines_of_text(capsys: pytest.CaptureFixture[str]) -> None:
    tell_plainly(PartChanged("nats", PartState.STARTING, 7))
    tell_plainly(PartChanged("nats", PartState.READY, 7))
    tell_plainly(PartChanged("nats", PartState.STARTING, None, "ended by SIGKILL, starts again in 0 s"))

    assert capsys.readouterr().out == (
        "nats ready (pid 7)\nnats starting: ended by SIGKILL, starts again in 0 s\n"
    )


def test_scripts_get_one_document(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tell = choose(as_json=True)
    tell(PartChanged("nats", PartState.READY, 7))
    tell(SERVING)

    assert capsys.readouterr().out == (
        '{"url": "http://127.0.0.1:8080", "key_file": "/h/key", "join_token_file": "/h/join-token"}\n'
    )
