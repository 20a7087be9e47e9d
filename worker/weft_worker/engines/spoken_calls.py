"""Calls of tools that a model writes into its text, between `<tool_call>` and `</tool_call>`, as most open models do.

What is between them is a JSON object with a name and arguments. Anything else is text like any other.
"""

import json
from collections.abc import Collection
from typing import Any
from uuid import uuid4

from weft_worker.engines.base import Delta, ToolCallDelta, Tools
from weft_worker.engines.held_text import HeldText, partial_end

_BEGIN, _END = "<tool_call>", "</tool_call>"
# Beyond that it is no call: nobody waits for an end that never comes.
_MAX_CALL_CHARACTERS = 1 << 20

Told = Delta | ToolCallDelta


class SpokenCalls:
    """Reads the text of one answer; state: what is not told yet, and how many calls were made.

    A call is told as a whole, once its end is there: until then it might be no call.
    """

    def __init__(self, offered: Tools, *, is_formed: bool = False) -> None:
        """An answer that is held to a form is either calls or something else: then half a call is no text."""
        self._is_formed = is_formed
        self._has_said = False
        self._names = frozenset(tool.name for tool in offered.tools if offered.name in ("", tool.name))
        self._is_single = offered.single_call
        self._held = HeldText()
        self._count = 0

    @property
    def has_called(self) -> bool:
        """Whether a call was told."""
        return self._count > 0

    @property
    def is_over(self) -> bool:
        """Whether nothing that follows would be told: one call is all that the caller takes."""
        return self._is_single and self._count > 0

    def read(self, delta: Delta) -> list[Told]:
        """Take text as it comes, and tell what is known to be text or a call by now."""
        self._held.put(delta)
        told: list[Told] = []
        while not self.is_over:
            before, marker, rest = self._held.text.partition(_BEGIN)
            if not marker:
                return [*told, *self._said(len(before) - _may_begin(before))]
            inside, end, _ = rest.partition(_END)
            if not end and len(inside) <= _MAX_CALL_CHARACTERS:
                # White space in front of a call is no word of the answer.
                return [*told, *self._said(len(before.rstrip()))]
            told += self._block(before, inside, end)
        return told

    def finish(self) -> list[Told]:
        """Tell what is still held, after the last text; a call may lack its end mark, and half of one is text."""
        is_calls = self._is_formed and not self._has_said
        told: list[Told] = []
        while not self.is_over and _BEGIN in self._held.text:
            before, _, rest = self._held.text.partition(_BEGIN)
            told += self._block(before, rest, "")
        if is_calls:
            return [each for each in told if isinstance(each, ToolCallDelta)]
        rest_is_nothing = self.is_over or (self.has_called and not self._held.text.strip())
        return told if rest_is_nothing or not self._held.text else [*told, self._held.take_all()]

    def _block(self, before: str, inside: str, end: str) -> list[Told]:
        call = _read_call(inside, self._names)
        if call is None:
            # A call may still follow, before the end of what looked like one.
            return self._said(len(before) + len(_BEGIN))
        spoken = len(before.rstrip())
        told = self._said(spoken)
        taken = self._held.take(len(before) - spoken + len(_BEGIN) + len(inside) + len(end))
        name, arguments = call
        made = ToolCallDelta(self._count, f"call_{uuid4().hex}", name, arguments, taken.token_count)
        self._count += 1
        return [*told, made]

    def _said(self, count: int) -> list[Told]:
        self._has_said = self._has_said or count > 0
        return [self._held.take(count)] if count else []


def _may_begin(text: str) -> int:
    """How much of the end may be the begin of a call, or white space in front of one."""
    held = partial_end(text, _BEGIN)
    before = text[: len(text) - held]
    return held + len(before) - len(before.rstrip())


def _read_call(inside: str, names: Collection[str]) -> tuple[str, str] | None:
    """Name and arguments, a JSON object in text as the model wrote it; None where it is no call of what was offered."""
    try:
        call = json.loads(inside)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict) or call.get("name") not in names:
        return None
    arguments = call.get("arguments", call.get("parameters", {}))
    written = _object_text(arguments)
    return None if written is None else (call["name"], written)


def _object_text(arguments: Any) -> str | None:
    """Some models write their arguments as a text that holds the object."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    return json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, dict) else None
