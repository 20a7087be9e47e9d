"""The table of events holds what the code tells, and nothing else."""

import ast
from collections.abc import Iterator
from pathlib import Path

from weft_common.event_names import EVENT_NAMES

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("common/weft_common", "gateway/weft_gateway", "router/weft_router", "worker/weft_worker")


def calls() -> Iterator[ast.Call]:
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            yield from (n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Call))


def called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def constants(call: ast.Call) -> Iterator[str]:
    """Names among a call's arguments, each side of an `if` included."""
    for argument in call.args:
        sides = (argument.body, argument.orelse) if isinstance(argument, ast.IfExp) else (argument,)
        yield from (s.value for s in sides if isinstance(s, ast.Constant) and isinstance(s.value, str))


def test_everything_that_is_told_is_in_the_table() -> None:
    told = {name for call in calls() if called(call) in ("tell", "tell_counted") for name in constants(call)}
    assert {name for name in told if name.isidentifier()} <= EVENT_NAMES.keys()


def test_everything_in_the_table_is_told() -> None:
    told = {name for call in calls() for name in constants(call)}
    assert EVENT_NAMES.keys() <= told


def test_the_operators_table_is_the_codes() -> None:
    section = (ROOT / "docs/operations.md").read_text().partition("## Events\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{what}` | {name.kind.name.lower()} | {name.meaning} | {name.details} |"  # type: ignore[union-attr]
        for what, name in EVENT_NAMES.items()
    ]
