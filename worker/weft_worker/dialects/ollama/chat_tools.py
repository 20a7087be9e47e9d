"""Tools in the body of a conversation: those that are offered, and which result answers which call.

Ollama's clients seldom have names for calls: a result says at most which tool it is of. Engines want each result to
name its call, so calls without a name get one by their place.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from weft_worker.dialects.invalid import FIELD
from weft_worker.dialects.ollama.fields import Body
from weft_worker.dialects.tools import MOST_TOOLS_ELSEWHERE, compact
from weft_worker.engines.base import Tool, ToolCall


class Function(Body):
    """What the model may call."""

    # Ollama asks nothing of names, and servers of tools have dots and slashes in theirs.
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/-]{1,128}$")]
    description: str | None = None
    parameters: dict[str, object] | None = None

    @model_validator(mode="after")
    def _check(self) -> "Function":
        if self.parameters and self.parameters.get("type", "object") not in ("object", None):
            raise PydanticCustomError("parameters", "Arguments are an object", {FIELD: "parameters"})
        return self


class OfferedTool(Body):
    """A function, in its wrapping."""

    type: str | None = None
    function: Function

    def to_tool(self) -> Tool:
        """Say the same in the words of engines."""
        function = self.function
        parameters = {key: value for key, value in (function.parameters or {}).items() if value is not None}
        return Tool(function.name, function.description or "", compact(parameters) if parameters else "")


class CalledFunction(Body):
    """What the model called, and with what."""

    name: str
    arguments: dict[str, object] | None = None


class CalledTool(Body):
    """A call that the model made earlier."""

    id: str | None = None
    function: CalledFunction


OfferedTools = Annotated[list[OfferedTool], Field(max_length=MOST_TOOLS_ELSEWHERE)]


@dataclass(slots=True)
class CallBook:
    """Names calls and finds those that results answer; state: calls that are still without a result, by name, and in
    which order they came, also of each tool. Conversations may be long: nothing here looks at all of them.
    """

    _open: dict[str, ToolCall] = field(default_factory=dict)
    _order: deque[str] = field(default_factory=deque)
    _orders: dict[str, deque[str]] = field(default_factory=dict)
    _count: int = 0

    def made(self, called: CalledTool) -> ToolCall:
        """Note a call."""
        self._count += 1
        arguments: Mapping[str, object] = called.function.arguments or {}
        call = ToolCall(called.id or f"call_{self._count}", called.function.name, compact(arguments))
        self._open[call.id] = call
        self._order.append(call.id)
        self._orders.setdefault(call.name, deque()).append(call.id)
        return call

    def answered(self, call_id: str | None, tool: str | None) -> ToolCall:
        """Which call a result is of: the one that it names, else the oldest of its tool, else the oldest of all."""
        if call_id:
            found = self._open.pop(call_id, None)
        else:
            found = self._oldest(self._orders.get(tool, deque()) if tool else self._order)
        if found is not None:
            return found
        # A conversation may begin behind its calls; what it is an answer to is then for the model to guess.
        self._count += 1
        return ToolCall(call_id or f"call_{self._count}", tool or "", "{}")

    def _oldest(self, order: deque[str]) -> ToolCall | None:
        while order:
            if (call := self._open.pop(order.popleft(), None)) is not None:
                return call
        return None
