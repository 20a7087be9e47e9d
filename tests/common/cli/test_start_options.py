"""What flags of the commands that start parts take."""

import pytest
import typer

from weft_common.cli.start_options import cors_origins, split_origins


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", ()),
        ("*", ("*",)),
        ("https://a.example/, http://localhost:3000", ("https://a.example", "http://localhost:3000")),
    ],
)
def test_origins_are_split(text: str, origins: tuple[str, ...]) -> None:
    assert split_origins(cors_origins(text)) == origins


@pytest.mark.parametrize("text", ["chat.example", "https://a.example/path", "https://", "*.example"])
def test_what_is_no_origin_is_named(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no origin"):
        cors_origins(f"https://a.example,{text}")
