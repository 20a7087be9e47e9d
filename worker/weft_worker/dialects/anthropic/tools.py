"""Tools in the body of a message: those that are offered, and whether they are called."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from weft_worker.dialects.anthropic.fields import Body, wrong
from weft_worker.dialects.tools import MOST_TOOLS_ELSEWHERE, TOOL_NAME, compact, is_parameters
from weft_worker.engines.base import Tool, ToolMode, Tools


class OfferedTool(Body):
    """A tool of the client's own.

    What only steers Anthropic's servers is left alone: `cache_control`, `defer_loading`, `eager_input_streaming`,
    `input_examples`. So is `strict`: what has to be called keeps its schema in any case.
    """

    name: Annotated[str, Field(pattern=f"^{TOOL_NAME.pattern}$")]
    description: str | None = None
    input_schema: dict[str, object] | None = None
    type: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "OfferedTool":
        if self.type not in (None, "custom"):
            raise wrong(
                "type", "Only tools of type 'custom' are supported: none runs here, or has a schema here"
            )
        if self.input_schema is None:
            raise wrong("input_schema", "Field required")
        if not is_parameters(compact(self.input_schema)):
            raise wrong("input_schema", "Should be a JSON schema of an object")
        return self

    def to_tool(self) -> Tool:
        """Say the same in the words of engines."""
        return Tool(self.name, self.description or "", compact(self.input_schema))


class ToolChoice(Body):
    """Whether tools are called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None

    @model_validator(mode="after")
    def _check(self) -> "ToolChoice":
        if self.type == "tool" and self.name is None:
            raise wrong("name", "Field required")
        return self

    @property
    def is_forced(self) -> bool:
        """Whether a tool has to be called."""
        return self.type in ("any", "tool")


OfferedTools = Annotated[list[OfferedTool], Field(max_length=MOST_TOOLS_ELSEWHERE)]
_MODES = {
    "auto": ToolMode.AUTO,
    "any": ToolMode.REQUIRED,
    "tool": ToolMode.REQUIRED,
    "none": ToolMode.NONE,
}


def tools_of(offered: Sequence[OfferedTool] | None, choice: ToolChoice | None) -> Tools | None:
    """What the model may call; raises where a choice is made of nothing."""
    choice = choice or ToolChoice(type="auto")
    if not offered:
        if choice.is_forced:
            raise wrong("tool_choice", "`tool_choice` may only be specified while providing `tools`")
        return None
    names = [tool.name for tool in offered]
    if len(set(names)) < len(names):
        raise wrong("tools", "Tool names must be unique")
    if choice.type == "tool" and choice.name not in names:
        raise wrong("tool_choice.name", "None of the tools has this name")
    name = choice.name or "" if choice.type == "tool" else ""
    tools = tuple(tool.to_tool() for tool in offered)
    return Tools(tools, _MODES[choice.type], name, bool(choice.disable_parallel_tool_use))
