"""Whether JSON is exactly what a client library's response model says: no field more, none less, no type bent.

The libraries themselves forgive nearly everything, so that validating with them proves little. A field that may be left
out, and one that the library does not know, has to be named on purpose; `shapes` does that, each with its reason.
"""

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ByteSize
from typing_extensions import TypeAliasType

_LISTS = (list, Sequence, Iterable)
_OBJECTS = (dict, Mapping)
_SCALARS: Mapping[Any, tuple[type, ...]] = {
    str: (str,),
    int: (int,),
    float: (float, int),
    bool: (bool,),
    type(None): (type(None),),
    ByteSize: (int,),
}


Problem = tuple[str, str]
"""A path, and what is wrong there."""


@dataclass(frozen=True)
class Shape:
    """A response model, with what Weft's answers differ in on purpose: paths such as `choices[].message.audio`.

    Lists are `[]` in a path, whatever the index; each path has its reason.
    """

    model: Any
    extras: Mapping[str, str] = field(default_factory=dict)
    """Fields that the model does not know."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """Fields that may be left out."""
    nulls: Mapping[str, str] = field(default_factory=dict)
    """Fields that may be null, though the model says that they are not."""

    def check(self, data: object) -> None:
        """Fail with all that is wrong at once."""
        found = self.problems(data)
        assert not found, "\n".join([*found, repr(data)[:2000]])

    def problems(self, data: object) -> list[str]:
        """Say what is wrong, each with its path."""
        return [f"{path}: {what}" for path, what in self._problems(self.model, data, "")]

    def _problems(self, kind: Any, value: object, at: str) -> list[Problem]:
        if kind is Any or kind is object or (value is None and at in self.nulls):
            return []
        if isinstance(kind, TypeAliasType):
            return self._problems(kind.__value__, value, at)
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is Annotated:
            return self._problems(arguments[0], value, at)
        if origin is Union or origin is types.UnionType:
            # Whichever is nearest tells most about what is wrong; null is near to nothing else.
            kinds = [each for each in arguments if value is None or each is not type(None)]
            return min((self._problems(each, value, at) for each in kinds), key=_badness)
        if origin is Literal:
            fits = any(value == each and type(value) is type(each) for each in arguments)
            return [] if fits else [(at, f"{value!r} is none of {arguments}")]
        if origin in _LISTS:
            return self._of_list(arguments, value, at)
        if origin in _OBJECTS or kind in _OBJECTS:
            return self._of_object(arguments, value, at)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return list(self._of_model(kind, value, at))
        return _of_scalar(kind, value, at)

    def _of_list(self, arguments: tuple[Any, ...], value: object, at: str) -> list[Problem]:
        if not isinstance(value, list):
            return [(at, f"not a list: {value!r}")]
        kind = arguments[0] if arguments else Any
        return [problem for each in value for problem in self._problems(kind, each, f"{at}[]")]

    def _of_object(self, arguments: tuple[Any, ...], value: object, at: str) -> list[Problem]:
        if not isinstance(value, dict):
            return [(at, f"not an object: {value!r}")]
        kind = arguments[1] if arguments else Any
        return [
            problem for key, each in value.items() for problem in self._problems(kind, each, f"{at}.{key}")
        ]

    def _of_model(self, model: type[BaseModel], value: object, at: str) -> Iterator[Problem]:
        if not isinstance(value, dict):
            yield at, f"not an object, as {model.__qualname__} is: {value!r}"
            return
        model.model_rebuild()
        fields = {known.alias or name: known.annotation for name, known in model.model_fields.items()}
        dot = f"{at}." if at else ""
        for name in value.keys() - fields.keys():
            if f"{dot}{name}" not in self.extras:
                yield f"{dot}{name}", "unknown"
        for name, kind in fields.items():
            if name in value:
                yield from self._problems(kind, value[name], f"{dot}{name}")
            elif f"{dot}{name}" not in self.absent:
                yield f"{dot}{name}", "missing"


def _badness(found: list[Problem]) -> tuple[bool, int]:
    """A wrong `type` is worse than any number of fields: it is another member of the union that is meant."""
    return any(what.startswith("'") and path.endswith("type") for path, what in found), len(found)


def _of_scalar(kind: Any, value: object, at: str) -> list[Problem]:
    if kind is datetime:
        return [] if _is_time(value) else [(at, f"not a time: {value!r}")]
    assert kind in _SCALARS, f"{at} has an annotation that this module does not know: {kind!r}"
    return [] if type(value) in _SCALARS[kind] else [(at, f"not {kind.__name__}: {value!r}")]


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False
