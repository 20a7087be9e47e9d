"""keys.yaml: what it may hold, and what is wrong with it in words that give none of it away.

Somebody may have put a key in clear into the file, so problems are lines, fields and kinds of mistakes: no values, and
no names that are not ours.
"""

from collections.abc import Sequence
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class KeyEntry(BaseModel):
    """One key of keys.yaml; `weight` and `priority` order waiting requests."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=255)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    weight: Annotated[float, Field(ge=0.001, le=1000)] = 1
    priority: Annotated[int, Field(ge=-100, le=100)] = 0


class KeysFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")

    keys: list[KeyEntry] = []


_FIELDS = frozenset({*KeysFile.model_fields, *KeyEntry.model_fields})
_UNKNOWN = "(unknown field)"


class UnusableKeys(Exception):
    """The file cannot be used; `problems` may be logged."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def parse_keys(content: bytes) -> KeysFile:
    """Read the file's content; raises UnusableKeys."""
    try:
        text = content.decode()
        return KeysFile.model_validate(yaml.safe_load(text) or {})
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnusableKeys(f"line {line}: no UTF-8") from None
    except yaml.YAMLError as error:
        raise UnusableKeys(_yaml_problem(error)) from None
    except ValidationError as error:
        problems = [_problem(text, problem["loc"], problem["type"]) for problem in error.errors()]
        raise UnusableKeys(*problems) from None
    except (ValueError, RecursionError) as error:  # what YAML makes of 2026-99-99, or of a thousand brackets
        raise UnusableKeys(f"no usable YAML ({type(error).__name__})") from None


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    where = "" if mark is None else f"line {mark.line + 1}: "
    return f"{where}no YAML ({type(error).__name__})"


def _problem(text: str, place: Sequence[int | str], kind: str) -> str:
    path = ".".join(str(step) if isinstance(step, int) or step in _FIELDS else _UNKNOWN for step in place)
    return f"line {_line(text, place)}: {path or 'the file'}: {kind}"


def _line(text: str, place: Sequence[int | str]) -> int:
    """Return the line of a value, or of what lacks it."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for step in place:
        inner = _inner(node, step)
        if inner is None:
            break
        node = inner
    return node.start_mark.line + 1 if node is not None else 1


def _inner(node: yaml.Node | None, step: int | str) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        found: yaml.Node = node.value[step]
        return found
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    return None
