"""What is wrong with keys.yaml, without any of its content."""

import pytest

from weft_gateway.keys_file import UnusableKeys, parse_keys

DIGEST = "a" * 64


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("keys: [{name: a}]", ("line 1: keys.0.sha256: missing",)),
        (
            f"keys:\n- {{name: a, sha256: {DIGEST}}}\n- name: b\n  sha256: sk-secret\n",
            ("line 4: keys.1.sha256: string_pattern_mismatch",),
        ),
        (
            f"keys:\n- name: a\n  sha256: '{DIGEST}'\n  weight: many\n  priority: 101\n",
            ("line 4: keys.0.weight: float_parsing", "line 5: keys.0.priority: less_than_equal"),
        ),
        (
            f"keys:\n- name: a\n  sha256: '{DIGEST}'\n  weight: 1e-308\n",
            ("line 4: keys.0.weight: greater_than_equal",),
        ),
        ("sk-secret: {}\n", ("line 1: (unknown field): extra_forbidden",)),
        ("nonsense", ("line 1: the file: model_type",)),
        ("keys:\n  {", ("line 2: no YAML (ParserError)",)),
        ("keys: *sk-secret", ("line 1: no YAML (ComposerError)",)),
        ("keys: 2026-99-99", ("no usable YAML (ValueError)",)),
    ],
)
def test_problems_name_lines_and_fields_only(text: str, problems: tuple[str, ...]) -> None:
    with pytest.raises(UnusableKeys) as caught:
        parse_keys(text.encode())
    assert caught.value.problems == problems
    assert caught.value.__suppress_context__


def test_a_file_that_is_no_text_is_unusable() -> None:
    with pytest.raises(UnusableKeys, match="line 2: no UTF-8"):
        parse_keys(b"keys:\n\xff")


def test_an_empty_file_has_no_keys() -> None:
    assert parse_keys(b"").keys == []
