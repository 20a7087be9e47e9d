"""Messages in the body of a chat completion: what was said, shown and called, in all forms that OpenAI takes."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Literal

from pydantic import PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from weft_worker.dialects.images import (
    MAX_IMAGE_COUNT,
    MAX_TOTAL_PIXELS,
    UnusableImage,
    are_too_many_pixels,
    image_of_base64,
)
from weft_worker.dialects.openai.chat_tools import CalledFunction, CalledTool
from weft_worker.dialects.openai.fields import Body, Unsupported, unsupported, wrong
from weft_worker.engines.base import Image, Message, Role, ToolCall

_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Content:
    """What was said: texts and pictures in their order."""

    parts: tuple[str | Image, ...]

    @property
    def text(self) -> str:
        """The texts of it, joined."""
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def images(self) -> Sequence[Image]:
        """The pictures of it."""
        return [part for part in self.parts if isinstance(part, Image)]


class ChatMessage(Body):
    """One message of the conversation; `audio` is of earlier answers that were spoken.

    Clients send back what an earlier answer was thought over with, under either of the names that are in use.
    """

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Annotated[Content | None, PlainValidator(lambda content: _content(content))] = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[CalledTool] | None = None
    tool_call_id: str | None = None
    function_call: CalledFunction | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    audio: Unsupported = None

    @model_validator(mode="after")
    def _check(self) -> "ChatMessage":
        if self.role == "tool" and not self.tool_call_id:
            raise wrong("tool_call_id", "A message of a tool needs the id of its call")
        if self.role == "function" and not self.name:
            raise wrong("name", "A message of a function needs its name")
        if self.role != "assistant":
            if self.tool_calls:
                raise wrong("tool_calls", "Only an assistant calls tools")
            if self.function_call is not None:
                raise wrong("function_call", "Only an assistant calls functions")
            if self.content is None and self.role != "function":
                raise wrong("content", "A message of this role needs content")
        if self.role != "user" and self.content is not None and self.content.images:
            raise wrong("content", "Only the user shows images")
        self._calls()  # raises where one lacks what its type needs
        return self

    def to_message(self) -> Message:
        """Say the same in the words of engines."""
        content = self.content or Content((self.refusal or "",))
        if self.role == "function":
            return Message(Role.TOOL, content.text, tool_call_id=_id_of_function(self.name or ""))
        return Message(
            Role.SYSTEM if self.role == "developer" else Role(self.role),
            content.text,
            self.name or "",
            self._calls(),
            self.tool_call_id or "",
            content.parts if content.images else (),
            self._thoughts(),
        )

    def _thoughts(self) -> str:
        return self.reasoning_content or self.reasoning or "" if self.role == "assistant" else ""

    def _calls(self) -> tuple[ToolCall, ...]:
        calls = tuple(call.to_call() for call in self.tool_calls or ())
        if self.function_call is None:
            return calls
        return (*calls, self.function_call.to_call(_id_of_function(self.function_call.name)))


def check_images(messages: Sequence[ChatMessage]) -> None:
    """Raise where the pictures of a whole conversation are too many or too large."""
    images = [image.data for message in messages if message.content for image in message.content.images]
    if len(images) > MAX_IMAGE_COUNT:
        raise wrong("messages", f"At most {MAX_IMAGE_COUNT} images are taken")
    if are_too_many_pixels(images):
        raise wrong("messages", f"The images have more than {MAX_TOTAL_PIXELS:,} pixels together")


def _id_of_function(name: str) -> str:
    """A call of the old kind has no id: what a function said belongs to the call before it."""
    return f"function_{name}"


def _content(content: object) -> Content | None:
    if content is None:
        return None
    if isinstance(content, str):
        return Content((content,))
    if not isinstance(content, list):
        raise _wrong_part("Input should be a string or a list of parts")
    if not content:
        raise _wrong_part("At least one part is needed")
    return Content(tuple(_joined(map(_part, content))))


def _joined(parts: Iterable[str | Image]) -> Iterator[str | Image]:
    """Make one text of those that follow each other."""
    for are_texts, group in groupby(parts, lambda part: isinstance(part, str)):
        if are_texts:
            yield "".join(part for part in group if isinstance(part, str))
        else:
            yield from group


def _part(part: object) -> str | Image:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or not isinstance(kind, str):
        raise _wrong_part("Each part should be an object with a known 'type'")
    match kind:
        case "text" | "refusal":
            text = part.get(kind)
            if not isinstance(text, str):
                raise _wrong_part(f"A part of type '{kind}' should have a string in '{kind}'")
            return text
        case "image_url":
            return _image(part.get("image_url"))
        case "input_audio" | "file":
            raise unsupported(f"Parts of type '{kind}' are not supported")
        case _:
            raise _wrong_part("Each part should be an object with a known 'type'")


def _image(image: object) -> Image:
    url = image.get("url") if isinstance(image, Mapping) else image
    if not isinstance(url, str):
        raise _wrong_part("A part of type 'image_url' should have an object with a string 'url'")
    if url[:8].lower().startswith(("http://", "https://")):
        raise unsupported(
            "Images are not fetched from URLs: send the file itself as 'data:image/png;base64,...'"
        )
    head = _DATA_URL.match(url)
    if head is None:
        raise _wrong_part("The 'url' of an image should be 'data:image/png;base64,...' or of a JPEG")
    try:
        return image_of_base64(url[head.end() :])
    except UnusableImage as error:
        words = str(error)
        raise _wrong_part(f"An image {words[0].lower()}{words[1:]}") from error


def _wrong_part(words: str) -> PydanticCustomError:
    return PydanticCustomError("content_part", "{words}", {"words": words})
