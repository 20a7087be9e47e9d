"""Chat templates of Hugging Face folders: a conversation as the text that the model was trained on.

Rendered in a sandbox of jinja2 as transformers does it, which is the only definition that there is; tests compare.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from weft_common.chat_templates import template_thinks
from weft_common.errors import FieldViolation, InvalidRequest, LoadFailed
from weft_worker.engines.base import Message, Role, Thinking, Tool, ToolCall, Tools
from weft_worker.engines.thoughts import template_switches

_FILE, _MORE_FOLDER, _CONFIG, _OLD = (
    "chat_template.jinja",
    "additional_chat_templates",
    "tokenizer_config.json",
    "chat_template.json",
)
_DEFAULT, _WITH_TOOLS = "default", "tool_use"
_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_MAX_FILE_BYTES = 32 << 20
_WITHOUT = (
    "ask /v1/completions, which needs none, or name one by the option `chat_template` of its model file"
)
_logger = logging.getLogger(__name__)


class ChatTemplate:
    """The templates of one model by name, compiled: one for all, or one of them for conversations with tools.

    A model without any only goes on with texts, as those do that were never trained to chat.
    """

    def __init__(
        self,
        sources: Mapping[str, str],
        special_tokens: Mapping[str, Any],
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        """Compile; raises LoadFailed where a template cannot be read."""
        environment = _environment(now)
        self._special_tokens = special_tokens
        self.thinks = any(map(template_thinks, sources.values()))
        """Whether the model does, or can be had to."""
        try:
            self._templates = {name: environment.from_string(source) for name, source in sources.items()}
        except jinja2.TemplateError as error:
            raise LoadFailed(f"The model's chat template cannot be read: {error}.") from error

    def render(
        self, messages: Sequence[Message], offered: Tools | None = None, thinking: Thinking | None = None
    ) -> str:
        """Write a conversation, up to where the answer begins; raises InvalidRequest where the template refuses it."""
        tools = [_tool(tool) for tool in offered.tools] if offered is not None else None
        template = self._template(tools)
        if template is None:
            raise _refused(f"the model has no chat template: {_WITHOUT}")
        try:
            return template.render(
                messages=[_message(message) for message in messages],
                tools=tools,
                documents=None,
                add_generation_prompt=True,
                **template_switches(thinking),
                **self._special_tokens,
            )
        except (
            Exception
        ) as error:  # a template is a program of others, and fails by the caller's conversation
            words = f"the model's chat template does not take this conversation: {_one_line(error)}"
            raise _refused(words) from error

    @property
    def chats(self) -> bool:
        """Whether there is a template for conversations."""
        return _DEFAULT in self._templates

    def _template(self, tools: object) -> jinja2.Template | None:
        if tools is not None and _WITH_TOOLS in self._templates:
            return self._templates[_WITH_TOOLS]
        return self._templates.get(_DEFAULT)


def read_chat_template(
    folder: Path, now: Callable[[], datetime] = datetime.now, *, file: Path | None = None
) -> ChatTemplate:
    """Find the templates of a model's folder, where transformers looks; blocks. Raises LoadFailed that names a file.

    A `file` goes before them all, and has to be there.
    """
    config = _json_of(folder / _CONFIG)
    sources = _sources(folder, config) if file is None else _required(file)
    template = ChatTemplate(sources, _special_tokens(folder, config), now)
    if not template.chats:
        _logger.warning("model_without_chat_template", extra={"folder": str(folder)})
    return template


def _required(file: Path) -> Mapping[str, str]:
    text = _text_of(file)
    if text is None:
        raise LoadFailed(f"The chat template {file} is not there on this node.")
    return {_DEFAULT: text}


def _sources(folder: Path, config: Mapping[str, Any]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    if (text := _text_of(folder / _FILE)) is not None:
        found[_DEFAULT] = text
    for path in sorted((folder / _MORE_FOLDER).glob("*.jinja")):
        found[path.stem] = _text_of(path) or ""
    # What a file says goes before what the config holds.
    return (
        found or _named(config.get("chat_template")) or _named(_json_of(folder / _OLD).get("chat_template"))
    )


def _named(told: object) -> Mapping[str, str]:
    match told:
        case str():
            return {_DEFAULT: told}
        case list():
            named = [
                each for each in told if isinstance(each, Mapping) and {"name", "template"} <= each.keys()
            ]
            return {str(each["name"]): str(each["template"]) for each in named}
        case dict():
            return {str(name): str(source) for name, source in told.items()}
    return {}


def _special_tokens(folder: Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Templates know them by name; one without text is undefined to them."""
    told = {**_json_of(folder / "special_tokens_map.json"), **config}
    named = {name: _token_text(told.get(name)) for name in _NAMED_TOKENS}
    return {name: text for name, text in named.items() if text is not None}


def _token_text(told: object) -> str | None:
    content = told.get("content") if isinstance(told, Mapping) else told
    return content if isinstance(content, str) else None


def _message(message: Message) -> dict[str, Any]:
    said: dict[str, Any] = {"role": str(message.role), "content": message.content}
    if message.name:
        said["name"] = message.name
    if message.reasoning:
        said["reasoning_content"] = message.reasoning
    if message.tool_calls:
        said["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.role is Role.TOOL:
        said["tool_call_id"] = message.tool_call_id
    return said


def _call(call: ToolCall) -> dict[str, Any]:
    """With its arguments as the object that they are: templates write JSON, and a text would be quoted twice."""
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        arguments = None
    told = arguments if isinstance(arguments, dict) else call.arguments
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": told}}


def _tool(tool: Tool) -> dict[str, Any]:
    parameters = json.loads(tool.parameters) if tool.parameters else {"type": "object", "properties": {}}
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _environment(now: Callable[[], datetime]) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: now().strftime(form)
    return environment


class _Generation(Extension):
    """`{% generation %}` marks what a model says, for training; here it is only what it holds."""

    tags = {"generation"}  # noqa: RUF012 (jinja types it so)

    def parse(self, parser: Parser) -> nodes.Node:
        """Read up to the end of the block; what is set inside stays inside."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """jinja's own writes for HTML, with `<` escaped."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _refuse(words: str) -> None:
    raise jinja2.TemplateError(words)


def _refused(words: str) -> InvalidRequest:
    return InvalidRequest(f"messages: {words}", violations=[FieldViolation("messages", words)])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _text_of(path: Path) -> str | None:
    """None where there is no such file."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES).decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise LoadFailed(f"{path} cannot be read on this node: {error}.") from error


def _json_of(path: Path) -> Mapping[str, Any]:
    """Empty where there is no such file."""
    text = _text_of(path)
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LoadFailed(f"{path} holds no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise LoadFailed(f"{path} holds something else than a JSON object.")
    return found
