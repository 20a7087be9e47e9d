"""README.md lists the calls that there are."""

import re
from pathlib import Path

from tests.e2e.sdk.listing import TABLE, listed, table

HERE = Path(__file__).parent


def test_readme_lists_every_call() -> None:
    told = (HERE / "README.md").read_text().partition(TABLE)[2]
    assert told.strip() == table().strip(), (
        f"put there what `python -m tests.e2e.sdk.listing` prints, after {TABLE}"
    )


def test_every_call_is_found_in_its_source() -> None:
    for path in (HERE / "clients").iterdir():
        marks = re.findall(r"^(?:@call|call)\(", path.read_text(), re.MULTILINE) if path.is_file() else []
        assert len(marks) == len([each for each in listed() if each.file == path.name]), path
