"""News crosses a pipe unchanged and reads well."""

from dataclasses import replace
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
    "news",
    [
        PartChanged("nats", PartState.READY, 7, "x"),
        SERVING,
        replace(SERVING, model=None),
        Stopping(),
        Failed("two\nlines"),
    ],
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


def test_a_start_shows_how_to_try_a_model_where_there_is_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("secret")
    serving = replace(SERVING, key_file=str(tmp_path / "key"))
    tell_plainly(serving)
    with_model = capsys.readouterr().out.splitlines()
    tell_plainly(replace(serving, model=None))
    without = capsys.readouterr().out.splitlines()

    (line,) = (line for line in with_model if line not in without)
    assert line.startswith("  try     curl -N http://127.0.0.1:8080/v1/chat/completions ")
    assert '{"model": "weft-tiny", "stream": true' in line
    assert without == [other for other in with_model if other != line]


def test_scripts_get_one_document(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tell = choose(as_json=True)
    tell(PartChanged("nats", PartState.READY, 7))
    tell(SERVING)

    assert capsys.readouterr().out == (
        '{"url": "http://127.0.0.1:8080", "key_file": "/h/key", "join_token_file": "/h/join-token"}\n'
    )
