"""API keys of a file."""

import hashlib
import os
from pathlib import Path

import pytest

from weft_common.errors import InvalidApiKey
from weft_gateway.keys import KeyRing, Principal


def write(file: Path, *names: str, extra: str = "") -> None:
    entries = "".join(
        f"- {{name: {name}, sha256: {hashlib.sha256(f'sk-{name}'.encode()).hexdigest()}{extra}}}\n"
        for name in names
    )
    stamp = file.stat().st_mtime_ns if file.exists() else 0
    file.write_text(f"keys:\n{entries}")
    os.utime(file, ns=(stamp + 1, stamp + 1))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def ring(file: Path) -> KeyRing:
    made = KeyRing(file)
    made.read()
    return made


def test_a_key_stands_for_its_principal(file: Path) -> None:
    write(file, "alice", extra=", weight: 2, priority: 1")
    assert ring(file).authenticate({"authorization": "Bearer sk-alice"}) == Principal("alice", 2, 1)


@pytest.mark.parametrize("value", ["bearer sk-alice", "Bearer  sk-alice "])
def test_the_scheme_is_taken_in_any_case(file: Path, value: str) -> None:
    write(file, "alice")
    assert ring(file).authenticate({"authorization": value}).name == "alice"


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic sk-alice", "sk-alice"])
def test_no_key_is_refused_as_such(file: Path, value: str) -> None:
    write(file, "alice")
    with pytest.raises(InvalidApiKey, match="didn't provide"):
        ring(file).authenticate({"authorization": value})


@pytest.mark.parametrize(
    ("bearer", "other", "name"),
    [("sk-alice", "dummy", "alice"), ("dummy", "sk-bob", "bob"), ("sk-alice", "sk-bob", "alice")],
)
def test_a_key_that_is_right_in_either_place_lets_in(file: Path, bearer: str, other: str, name: str) -> None:
    write(file, "alice", "bob")
    headers = {"authorization": f"Bearer {bearer}", "x-api-key": other}
    assert ring(file).authenticate(headers).name == name


def test_a_wrong_key_in_both_places_is_refused(file: Path) -> None:
    write(file, "alice")
    with pytest.raises(InvalidApiKey, match="Incorrect"):
        ring(file).authenticate({"authorization": "Bearer dummy", "x-api-key": "dummy"})


def test_a_wrong_key_is_refused(file: Path) -> None:
    write(file, "alice")
    with pytest.raises(InvalidApiKey, match="Incorrect"):
        ring(file).authenticate({"authorization": "Bearer sk-bob"})


def test_a_changed_file_is_read_again(file: Path) -> None:
    write(file, "alice")
    keys = ring(file)
    write(file, "bob")
    keys.read()
    assert keys.authenticate({"authorization": "Bearer sk-bob"}).name == "bob"
    with pytest.raises(InvalidApiKey):
        keys.authenticate({"authorization": "Bearer sk-alice"})


@pytest.mark.parametrize(
    "content", ["keys: [{name: a}]", "{", "nonsense", "keys: [{name: a, sha256: short}]"]
)
def test_a_broken_file_leaves_the_keys_as_they_were_and_its_content_out_of_the_log(
    file: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(file, "alice")
    keys = ring(file)
    file.write_text(content + "\n# sk-secret")
    keys.read()
    assert keys.authenticate({"authorization": "Bearer sk-alice"}).name == "alice"
    assert "sk-secret" not in caplog.text


def rejections(caplog: pytest.LogCaptureFixture) -> list[list[str]]:
    return [record.problems for record in caplog.records if record.msg == "keys_file_rejected"]  # type: ignore[attr-defined]


def test_a_broken_file_is_told_of_once_until_it_changes(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(file, "alice")
    keys = ring(file)
    file.write_text("keys:\n- {name: a}\n")
    for _ in range(3):
        keys.read()
    assert rejections(caplog) == [["line 2: keys.0.sha256: missing"]]
    file.write_text("keys: 5\n")
    keys.read()
    assert rejections(caplog)[1:] == [["line 1: keys: list_type"]]


def test_a_missing_file_is_told_of_once_and_read_when_it_comes(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = ring(file)
    keys.read()
    assert rejections(caplog) == [["cannot be read: No such file or directory"]]
    write(file, "alice")
    keys.read()
    assert keys.authenticate({"authorization": "Bearer sk-alice"}).name == "alice"
