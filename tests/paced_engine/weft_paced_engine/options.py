"""What a paced engine was told to do, by its model's options or by the last message of a request."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """Every field is an option of the model; a word `name=value` of the last message goes before it."""

    delay_ms: float = 0.0
    """Pause before each token."""
    gate_file: str = ""
    """A token waits until this file exists."""
    gate_at: int = 0
    """Which one waits, from 0."""
    tokens: int = 16
    """How many tokens an answer has, unless `ignore_eos` is set."""
    thoughts: int = 0
    """How many tokens it thinks before an answer (`h0 h1 ...`), which it may be kept from; more with an effort."""
    call_letters: int = 0
    """Calls the first tool that is offered instead of an answer: with so many letters `a`, one a token."""
    fail_at: int = -1
    """Raises in place of the token with this number, from 0."""
    panic_at: int = -1
    """The same as native code written in Rust does: with what is no Exception."""
    load_delay_ms: float = 0.0
    """How long a load takes; progress is told ten times."""
    load_gate_file: str = ""
    """The load goes on to its end, or to its failure, only once this file exists."""
    load_fail: str = ""
    """Fails the load with these words."""
    load_says: str = ""
    """Printed to stderr at the end of the load, before it fails."""
    load_die: int = 0
    """Ends the process at the end of the load: with this exit code, or by this signal if it is negative."""
    load_count_file: str = ""
    """Grows by one byte for each load that begins, so that tests see how many there were in all processes."""
    memory_mib: int = 0
    """Holds this much memory from the load to the close."""
    env: str = ""
    """Says the value of this variable of its process's environment before all tokens; `-` where it is not set."""
    count_file: str = ""
    """Grows by one byte for each token generated, so that tests see what a cancelled request cost."""

    def updated(self, values: Mapping[str, str]) -> "Options":
        """Set the options that are known here; raises ValueError for a value that is none."""
        kinds: Mapping[str, Any] = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        return replace(self, **{name: kinds[name](text) for name, text in values.items() if name in kinds})

    def updated_by_words(self, text: str) -> "Options":
        """Set the options that a message names."""
        pairs = (word.partition("=") for word in text.split())
        return self.updated({name: value for name, equals, value in pairs if equals})

    def count_token(self) -> None:
        """Note one token."""
        _count(self.count_file)

    def count_load(self) -> None:
        """Note the begin of a load."""
        _count(self.load_count_file)


def _count(path: str) -> None:
    """Append one byte, so that concurrent requests and processes do not lose any."""
    if path:
        with Path(path).open("ab", buffering=0) as file:
            file.write(b".")
