"""Tools in the body of a chat completion: those that are offered, the choice of them, and calls of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from weft_worker.dialects.openai.custom_tools import CalledCustomTool, CustomTool, Name, input_arguments
from weft_worker.dialects.openai.fields import Body, wrong
from weft_worker.dialects.tools import MAX_TOOL_COUNT, compact, is_arguments
from weft_worker.engines.base import Tool, ToolCall, ToolMode, Tools


class Function(Body):
    """What the model may call; `strict` changes nothing: what has to be called keeps its schema in any case."""

    name: Name
    description: str | None = None
    parameters: dict[str, object] | None = None
    strict: bool | None = None

    @model_validator(mode="after")
    def _check(self) -> "Function":
        if self.parameters and self.parameters.get("type", "object") != "object":
            raise wrong("parameters", "Arguments are an object")
        return self

    def to_tool(self) -> Tool:
        """Say the same in the words of engines."""
        parameters = compact(self.parameters) if self.parameters else ""
        return Tool(self.name, self.description or "", parameters)


class OfferedTool(Body):
    """A function, or a tool that takes text instead of JSON, in its wrapping."""

    type: Literal["function", "custom"]
    function: Function | None = None
    custom: CustomTool | None = None

    @model_validator(mode="after")
    def _check(self) -> "OfferedTool":
        if (self.custom if self.type == "custom" else self.function) is None:
            raise wrong(self.type, "A tool of this type needs it")
        return self

    def to_tool(self) -> Tool:
        """Say the same in the words of engines."""
        offered = self.custom if self.type == "custom" else self.function
        assert offered is not None, "checked before"
        return offered.to_tool()


class CalledFunction(Body):
    """What the model called, and with what."""

    name: str
    arguments: str

    def to_call(self, call_id: str) -> ToolCall:
        """Say the same in the words of engines; arguments that are no object become the text of one.

        Chat templates read an object. OpenAI takes any text, and answers that ran out of tokens have half of one.
        """
        # Clients have nothing for a call that came without any.
        arguments = self.arguments if self.arguments.strip() else "{}"
        if not is_arguments(arguments):
            arguments = input_arguments(arguments)
        return ToolCall(call_id, self.name, arguments)


class CalledTool(Body):
    """A call that the model made earlier."""

    id: str
    type: Literal["function", "custom"] = "function"
    function: CalledFunction | None = None
    custom: CalledCustomTool | None = None

    def to_call(self) -> ToolCall:
        """Say the same in the words of engines; raises where what its type needs is missing."""
        if self.type == "custom" and self.custom is not None:
            return ToolCall(self.id, self.custom.name, input_arguments(self.custom.input))
        if self.type == "custom" or self.function is None:
            raise wrong("tool_calls", f"A call of type '{self.type}' needs '{self.type}'")
        return self.function.to_call(self.id)


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether tools are called; `name` is the one that has to be, `allowed` those that may be, None all of them."""

    mode: ToolMode
    name: str = ""
    allowed: tuple[str, ...] | None = None


OfferedTools = Annotated[list[OfferedTool], Field(max_length=MAX_TOOL_COUNT)]
ToolChoice = Annotated[Choice | None, PlainValidator(lambda choice: _tool_choice(choice))]
OfferedFunctions = Annotated[list[Function], Field(max_length=MAX_TOOL_COUNT)]
FunctionChoice = Annotated[Choice | None, PlainValidator(lambda choice: _function_choice(choice))]


def tools_of(offered: Sequence[OfferedTool] | None, choice: Choice | None, *, parallel: bool) -> Tools | None:
    """What the model may call; raises where a choice is made of nothing."""
    tools = [tool.to_tool() for tool in offered or ()]
    return _chosen(tools, choice, "tool_choice", single_call=not parallel)


def functions_of(offered: Sequence[Function] | None, choice: Choice | None) -> Tools | None:
    """The same in the form that OpenAI has given up: an answer has one call at most."""
    tools = [function.to_tool() for function in offered or ()]
    return _chosen(tools, choice, "function_call", single_call=True)


def _chosen(offered: Sequence[Tool], choice: Choice | None, field: str, *, single_call: bool) -> Tools | None:
    choice = choice or Choice(ToolMode.AUTO)
    if not offered:
        if choice.mode is ToolMode.REQUIRED or choice.allowed is not None:
            raise wrong(field, "Only with tools can there be a choice")
        return None
    known = {tool.name for tool in offered}
    named = {choice.name} if choice.name else set(choice.allowed or ())
    if named - known:
        raise wrong(field, "None of the tools has this name")
    tools = tuple(tool for tool in offered if choice.allowed is None or tool.name in choice.allowed)
    if tools:
        return Tools(tools, choice.mode, choice.name, single_call)
    if choice.mode is ToolMode.REQUIRED:
        raise wrong(field, "One tool at least should be allowed")
    return None


def _tool_choice(value: object) -> Choice | None:
    match value:
        case None:
            return None
        case "none" | "auto" | "required":
            return Choice(ToolMode(value))
        case {"type": "function", "function": {"name": str(name)}}:
            return Choice(ToolMode.REQUIRED, name)
        case {"type": "custom", "custom": {"name": str(name)}}:
            return Choice(ToolMode.REQUIRED, name)
        case {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto" | "required" as mode, "tools": list(tools)},
        }:
            return Choice(ToolMode(mode), "", tuple(map(_allowed_name, tools)))
    raise _bad_choice("'none', 'auto', 'required', one tool by its name or 'allowed_tools'")


def _allowed_name(tool: object) -> str:
    if isinstance(tool, Mapping):
        match tool:
            case {"type": "function", "function": {"name": str(name)}}:
                return name
            case {"type": "custom", "custom": {"name": str(name)}}:
                return name
    raise _bad_choice("a list of tools by their names in 'allowed_tools'")


def _function_choice(value: object) -> Choice | None:
    match value:
        case None:
            return None
        case "none" | "auto":
            return Choice(ToolMode(value))
        case {"name": str(name)}:
            return Choice(ToolMode.REQUIRED, name)
    raise _bad_choice("'none', 'auto' or a function by its name")


def _bad_choice(words: str) -> PydanticCustomError:
    return PydanticCustomError("tool_choice", "Should be {words}", {"words": words})
