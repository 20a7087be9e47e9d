"""The library's own HTTP door, for what it has nowhere else: tokens, and what a template makes of a conversation.

It is on the loopback of this machine and opens to a key that only this process knows. Calls block.
"""

import http.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from weft_common.errors import EngineFailed, InvalidRequest
from weft_worker.engines.abilities import Tokens

# One thread answers: where all slots count long texts, the last one waits for the others.
_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Door:
    """Where it is, as the library says it (`http://127.0.0.1:PORT`)."""

    address: str
    key: str = field(repr=False)

    def tokens(self, text: str, *, whole: bool, with_pieces: bool = False) -> Tokens:
        """Make tokens of a text; a `whole` one has the model's own beginning and end."""
        asked = {"content": text, "add_special": whole, "parse_special": True, "with_pieces": with_pieces}
        found = self._ask("/tokenize", asked)["tokens"]
        if not with_pieces:
            return Tokens(tuple(found))
        return Tokens(tuple(token["id"] for token in found), tuple(_bytes(token["piece"]) for token in found))

    def text(self, tokens: Sequence[int]) -> str:
        """Make text of tokens."""
        return str(self._ask("/detokenize", {"tokens": tokens})["content"])

    def prompt(self, conversation: Mapping[str, object]) -> str:
        """Have the chat template write a conversation for an answer to follow."""
        return str(self._ask("/apply-template", conversation)["prompt"])

    def template(self) -> str:
        """The chat template, as the library has it."""
        return str(self._ask("/props").get("chat_template", ""))

    def _ask(self, path: str, body: object = None) -> Any:
        """Ask by GET without a body, else by POST."""
        # A connection each: one that is kept would keep the library's only thread for them.
        connection = http.client.HTTPConnection(self.address.rpartition("/")[2], timeout=_SECONDS)
        try:
            headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
            if body is None:
                connection.request("GET", path, headers=headers)
            else:
                connection.request("POST", path, orjson.dumps(body), headers)
            answer = connection.getresponse()
            told = orjson.loads(answer.read())
        except (OSError, http.client.HTTPException, orjson.JSONDecodeError) as error:
            raise EngineFailed(f"llama.cpp did not answer {path}: {error}") from error
        finally:
            connection.close()
        if "error" in told:
            raise _failure(told["error"])
        return told


def _failure(error: Any) -> InvalidRequest | EngineFailed:
    text = f"llama.cpp cannot use the request: {error.get('message', error)}"
    return EngineFailed(text) if error.get("code") in (503, None) else InvalidRequest(text)


def _bytes(piece: str | list[int]) -> bytes:
    """A piece that is no text of its own is a list of bytes."""
    return piece.encode() if isinstance(piece, str) else bytes(piece)
