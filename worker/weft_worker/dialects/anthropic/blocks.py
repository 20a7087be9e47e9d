"""Content blocks in the body of a message: what was said, shown, thought, called and answered."""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from weft_worker.dialects.anthropic.fields import Body, wrong
from weft_worker.dialects.images import UnusableImage, image_of_base64
from weft_worker.dialects.tools import is_arguments
from weft_worker.engines.base import Image, ToolCall

Part = str | Image


def as_blocks(content: object) -> object:
    """A string is short for one block of text."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class Citations(Body):
    """Whether the answer shall cite."""

    enabled: bool | None = None


class TextBlock(Body):
    """Text; `cache_control` and the citations of an earlier answer change nothing."""

    type: Literal["text"]
    text: str

    def parts(self) -> Iterator[Part]:
        """What the model reads."""
        yield self.text


class ImageSource(Body):
    """A picture in the body. URLs are not fetched, and there are no files to name."""

    type: Literal["base64", "url", "file"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"] | None = None
    data: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "ImageSource":
        if self.type != "base64":
            raise wrong(
                "type",
                "Images are taken only from the body: send the file itself as a source of type 'base64'",
            )
        if self.media_type is None:
            raise wrong("media_type", "Field required")
        if self.data is None:
            raise wrong("data", "Field required")
        if self.image.media_type != self.media_type:
            raise wrong("media_type", f"The image appears to be of the media type {self.image.media_type}")
        return self

    @cached_property
    def image(self) -> Image:
        """The picture; raises where it cannot be used."""
        try:
            return image_of_base64(self.data or "")
        except UnusableImage as error:
            raise wrong("data", str(error)) from error


class ImageBlock(Body):
    """A picture; too large ones are refused and never made smaller, whatever `transformations` say."""

    type: Literal["image"]
    source: ImageSource

    def parts(self) -> Iterator[Part]:
        """What the model sees."""
        yield self.source.image


class SearchResultBlock(Body):
    """What was found somewhere."""

    type: Literal["search_result"]
    source: str
    title: str
    content: Annotated[list[TextBlock], Field(min_length=1)]
    citations: Citations | None = None

    @model_validator(mode="after")
    def _check(self) -> "SearchResultBlock":
        _check_citations(self.citations)
        return self

    def parts(self) -> Iterator[Part]:
        """What the model reads."""
        yield f"{self.title}\n{self.source}\n"
        for block in self.content:
            yield from block.parts()
        yield "\n\n"


class DocumentSource(Body):
    """A document in the body, as text or as blocks."""

    type: Literal["text", "content", "base64", "url", "file"]
    data: str | None = None
    content: Annotated[
        list[Annotated[TextBlock | ImageBlock, Field(discriminator="type")]] | None,
        BeforeValidator(as_blocks),
    ] = None

    @model_validator(mode="after")
    def _check(self) -> "DocumentSource":
        needed = {"text": "data", "content": "content"}.get(self.type)
        if needed is None:
            raise wrong("type", "Documents are taken only as text: as a source of type 'text' or 'content'")
        if getattr(self, needed) is None:
            raise wrong(needed, "Field required")
        return self

    def parts(self) -> Iterator[Part]:
        """What the model reads."""
        if self.type == "text":
            yield self.data or ""
        for block in self.content or ():
            yield from block.parts()


class DocumentBlock(Body):
    """A document; it is told as text, its title and context before it."""

    type: Literal["document"]
    source: DocumentSource
    title: str | None = None
    context: str | None = None
    citations: Citations | None = None

    @model_validator(mode="after")
    def _check(self) -> "DocumentBlock":
        _check_citations(self.citations)
        return self

    def parts(self) -> Iterator[Part]:
        """What the model reads."""
        for head in (self.title, self.context):
            if head:
                yield f"{head}\n"
        yield from self.source.parts()
        yield "\n\n"


class ThinkingBlock(Body):
    """What the model thought before; the signature of whoever made it is not looked at."""

    type: Literal["thinking"]
    thinking: str
    signature: str


class RedactedThinkingBlock(Body):
    """What a model thought that nobody here can read."""

    type: Literal["redacted_thinking"]
    data: str


class ToolUseBlock(Body):
    """A call that the model made earlier."""

    type: Literal["tool_use"]
    id: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(min_length=1)]
    input: dict[str, object]

    @model_validator(mode="after")
    def _check(self) -> "ToolUseBlock":
        if not is_arguments(self.to_call().arguments):
            raise wrong("input", "Should be a JSON object")
        return self

    def to_call(self) -> ToolCall:
        """Say the same in the words of engines; not by orjson, which takes no integer beyond 64 bits."""
        return ToolCall(self.id, self.name, json.dumps(self.input, ensure_ascii=False))


class ToolReferenceBlock(Body):
    """A tool that a search among tools found; all that are offered are shown to the model anyway."""

    type: Literal["tool_reference"]
    tool_name: Annotated[str, Field(min_length=1)]

    def parts(self) -> Iterator[Part]:
        """What the model reads."""
        yield f"Tool: {self.tool_name}\n"


ResultContent = Annotated[
    TextBlock | ImageBlock | SearchResultBlock | DocumentBlock | ToolReferenceBlock,
    Field(discriminator="type"),
]


class ToolResultBlock(Body):
    """What a tool said to a call."""

    type: Literal["tool_result"]
    tool_use_id: Annotated[str, Field(min_length=1)]
    content: Annotated[list[ResultContent] | None, BeforeValidator(as_blocks)] = None
    is_error: bool | None = None

    def parts(self) -> Sequence[Part]:
        """What it said and showed."""
        return [part for block in self.content or () for part in block.parts()]

    @property
    def text(self) -> str:
        """What it said; no model's template has a place for the mark of an error, so that it stands in front."""
        said = text_of(self.parts())
        return f"Error: {said}" if self.is_error else said

    @property
    def images(self) -> Sequence[Image]:
        """What it showed."""
        return [part for part in self.parts() if isinstance(part, Image)]


ForeignType = Literal[
    "server_tool_use",
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "mcp_tool_use",
    "mcp_tool_result",
]


class ForeignBlock(Body):
    """What a tool of Anthropic's own servers was asked, and said, in a conversation that began there.

    The model is told nothing of it: it has no such tools, what searches found is encrypted, and the answer's text says
    what came of it. As text of its own it would be an example of how to answer.
    """

    type: ForeignType


class UploadBlock(Body):
    """A file that the user gave to Anthropic's servers, and nobody here has."""

    type: Literal["container_upload"]

    @model_validator(mode="after")
    def _refuse(self) -> "UploadBlock":
        raise wrong("type", "Blocks of this type are not supported")


Block = Annotated[
    TextBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
    | ForeignBlock
    | UploadBlock,
    Field(discriminator="type"),
]


def text_of(parts: Sequence[Part]) -> str:
    """The texts of what was said, with nothing between them."""
    return "".join(part for part in parts if isinstance(part, str))


def _check_citations(citations: Citations | None) -> None:
    if citations is not None and citations.enabled:
        raise wrong("citations", "Citations are not supported")
