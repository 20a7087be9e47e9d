"""Which calls there are, read from the clients' sources without importing a client; prints the table of README.md."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CLIENTS = Path(__file__).with_name("clients")
_PYTHON = re.compile(r'^@call\(\s*"((?:[^"\\]|\\.)+)"\s*\)\n(?:async )?def (\w+)', re.MULTILINE)
_NODE = re.compile(r'^call\(\s*"(\w+)",\s*"((?:[^"\\]|\\.)+)"', re.MULTILINE)
TABLE = "<!-- from here on: python -m tests.e2e.sdk.listing -->"


@dataclass(frozen=True)
class Listed:
    """One call and where it is."""

    file: str
    name: str
    feature: str


def listed() -> list[Listed]:
    """All calls, by file and in the order of their files."""
    return [each for path in sorted(_CLIENTS.iterdir()) for each in _in_file(path)]


def table() -> str:
    """The table of all of them, by client."""
    calls = listed()
    rows = [f"| {each.file} | {each.name} | {each.feature} |" for each in calls]
    return "\n".join(
        [f"{len(calls)} calls.", "", "| client | call | what it uses |", "|---|---|---|", *rows, ""]
    )


def _in_file(path: Path) -> Iterator[Listed]:
    if path.suffix == ".mjs":
        for name, feature in _NODE.findall(path.read_text()):
            yield Listed(path.name, name, feature)
    if path.suffix == ".py":
        for feature, name in _PYTHON.findall(path.read_text()):
            yield Listed(path.name, name, feature)


if __name__ == "__main__":
    print(TABLE)
    print(table(), end="")
