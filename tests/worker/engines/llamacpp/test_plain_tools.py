"""What is told of a tool whose schema the library cannot read."""

from typing import Any

import pytest

from weft_worker.engines.llamacpp.plain_tools import plain_parameters


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (True, {"type": "object"}),
        ({"properties": []}, {"type": "object"}),
        (
            {
                "properties": {
                    "a": {"type": "file", "description": "A file."},
                    "b": {"type": ["string", "null"]},
                    "c": True,
                    "d": {"type": "integer", "minimum": 5, "description": 7},
                },
                "required": ["a", "z", 5],
                "$ref": "#",
            },
            {
                "type": "object",
                "properties": {"a": {"description": "A file."}, "b": {}, "c": {}, "d": {"type": "integer"}},
                "required": ["a"],
            },
        ),
    ],
)
def test_names_plain_types_and_descriptions_are_left(parameters: Any, expected: Any) -> None:
    assert plain_parameters(parameters) == expected
