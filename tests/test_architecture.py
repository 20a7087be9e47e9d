"""ARCHITECTURE.md tells the truth: every file and name of its trace exists, and the folders' rules hold."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "ARCHITECTURE.md").read_text()
STEP = re.compile(r"\[([\w./]+\.(?:py|yaml|lua))(?:: (\w+))?\]")
STEPS = [(m[1], m[2]) for m in STEP.finditer(TEXT)]


def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {
        n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_the_trace_has_its_steps() -> None:
    numbers = [int(n) for n in re.findall(r"^(\d+)\. ", TEXT, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 10
    assert len(STEPS) >= 20


@pytest.mark.parametrize(("path", "name"), STEPS, ids=[f"{p}:{n}" for p, n in STEPS])
def test_each_step_of_the_trace_exists(path: str, name: str | None) -> None:
    assert (ROOT / path).is_file()
    if name:
        assert name in names_in(ROOT / path)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:tests|common|docs|proto)/[\w./]+)`", TEXT))))
def test_each_place_that_is_named_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_it_can_be_read_in_five_minutes() -> None:
    assert len(TEXT.splitlines()) <= 150


def test_envoys_folder_never_becomes_a_python_package() -> None:
    assert not list((ROOT / "envoy").rglob("*.py"))
