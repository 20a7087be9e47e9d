"""The body of POST /api/chat: strict about what is known, silent about fields that are not."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, model_validator
from pydantic_core import PydanticCustomError

from weft_worker.dialects.images import MAX_TOTAL_PIXELS, are_too_many_pixels
from weft_worker.dialects.invalid import FIELD
from weft_worker.dialects.ollama.chat_tools import CallBook, CalledTool, OfferedTools
from weft_worker.dialects.ollama.fields import Asking, Body, Images, form_of, parse, shown
from weft_worker.engines.base import Generation, Message, Role, ToolMode, Tools


def parse_chat_request(body: bytes) -> "ChatRequest":
    """Read a body; raises InvalidRequest that names the fields."""
    return parse(ChatRequest, body)


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class ChatMessage(Body):
    """One message of the conversation."""

    role: Annotated[Literal["system", "user", "assistant", "tool"], BeforeValidator(_lower)]
    content: str | None = None
    thinking: str | None = None
    images: Images | None = None
    tool_calls: list[CalledTool] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "ChatMessage":
        if self.tool_calls and self.role != "assistant":
            raise PydanticCustomError("tool_calls", "Only an assistant calls tools", {FIELD: "tool_calls"})
        if self.images and self.role != "user":
            raise PydanticCustomError("images", "Only the user shows images", {FIELD: "images"})
        return self

    def to_message(self, calls: CallBook) -> Message:
        """Say the same in the words of engines; `calls` knows those of the messages before."""
        content = self.content or ""
        if self.role == "tool":
            call = calls.answered(self.tool_call_id, self.tool_name)
            return Message(Role.TOOL, content, call.name, tool_call_id=call.id)
        made = tuple(map(calls.made, self.tool_calls or ()))
        return Message(
            Role(self.role),
            content,
            tool_calls=made,
            parts=shown(self.images, content),
            reasoning=self.thinking or "" if self.role == "assistant" else "",
        )


class ChatRequest(Asking):
    """A conversation to answer; without messages it only loads its model, or unloads it."""

    messages: list[ChatMessage] | None = None
    tools: OfferedTools | None = None

    @model_validator(mode="after")
    def _check(self) -> "ChatRequest":
        images = [image.data for message in self.messages or () for image in message.images or ()]
        if are_too_many_pixels(images):
            words = f"The images have more than {MAX_TOTAL_PIXELS:,} pixels together"
            raise PydanticCustomError("images", "{words}", {"words": words, FIELD: "messages"})
        return self

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to answer."""
        return not self.messages

    def to_asked(self) -> Generation:
        """Say the same in the words of engines."""
        calls = CallBook()
        messages = tuple(message.to_message(calls) for message in self.messages or ())
        return Generation(messages, self.sampling, form_of(self.format), self._tools(), self.thinking)

    def _tools(self) -> Tools | None:
        if not self.tools:
            return None
        return Tools(tuple(tool.to_tool() for tool in self.tools), ToolMode.AUTO)
