"""An upstream's failures in our own words: whose fault it is, and whether another try may help."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson

from weft_common.errors import (
    ContextLengthExceeded,
    EngineFailed,
    FieldViolation,
    InvalidRequest,
    LoadFailed,
    PartUnavailable,
    ReplicaFull,
    WeftError,
)
from weft_worker.engines.limits import messages_too_long

_MAX_WORDS = 500
_MOST_READ = 10_000
_MOST_NAMES = 10
_RETRY_AFTER = timedelta(seconds=1)
# An operator has to mend it.
_REFUSED_RETRY_AFTER = timedelta(seconds=30)
_MOST_RETRY_AFTER_SECONDS = 3600.0
# By code or type where there is one, else by the words of vLLM, TGI, SGLang, llama.cpp, LM Studio.
_CONTEXT = re.compile(
    r"context_length|exceed_context|(maximum|available|model'?s?|max) (context|sequence)|context (length|size|window)"
    r"|prompt is too long|input is too long|max_new_tokens. must be|longer than the model",
    re.IGNORECASE,
)
_MODERATION = re.compile(
    r"moderation|(input|prompt|request|content|messages?) (was|is|were|has been) flagged|content[_ ](policy|filter)",
    re.IGNORECASE,
)
# What callers can do nothing about: what it says, and who can.
_MENDS = "its operator has to mend that"
_OPERATORS = {
    401: ("refuses the key that this node has for it", _MENDS),
    402: ("wants to be paid: the account of the key that this node has for it has no credits", _MENDS),
    403: (
        "does not permit this",
        "the key that this node has for it, its account or its region may not do this",
    ),
}
_WORD = re.compile(r"[^\s'\"`,;()]+")
_SHORTEST_KEY, _TELLING = 16, 8
# In its own words; others say it as OpenAI does.
_LLAMA_CPP = re.compile(r"request \((\d+) tokens\) exceeds the available context size \((\d+) tokens\)")
_QUOTED = re.compile(r"""['"]input['"]:""")


class Trouble(Exception):
    """A try came to nothing before a word of the answer; another one may do. `failure` is what the last one tells."""

    def __init__(self, failure: WeftError, *, after_seconds: float | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.after_seconds = after_seconds


class KeyRefused(Exception):
    """The upstream does not take the key, or does not do this for it; `failure` says so to callers, whose own is good.

    `status` is HTTP's.
    """

    def __init__(self, failure: WeftError, status: int) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.status = status


class Refused(InvalidRequest):
    """The upstream cannot use the request; `about` is what it says of it without the caller's own words in it, as far
    as they can be told apart.
    """

    def __init__(self, message: str, about: str) -> None:
        super().__init__(message)
        self.about = about


@dataclass(frozen=True, slots=True)
class Words:
    """What an upstream says of a failure; `status` is HTTP's, or its own in a stream (0 where there is none); `about`
    is what of it no caller wrote.
    """

    text: str
    kind: str = ""
    status: int = 0
    about: str = ""


@dataclass(frozen=True, slots=True)
class Upset:
    """Who failed, for messages: never a key, and nothing that was asked."""

    origin: str
    model: str

    def unavailable(self, what: str, retry_after: timedelta = _RETRY_AFTER) -> WeftError:
        """Say that it cannot be used now."""
        message = f"The upstream {self.origin} of this model {what}."
        return PartUnavailable(message, retry_after=retry_after, metadata={"part": "upstream"})

    def no_api(self, media_type: str) -> WeftError:
        """Say that it is a web page or the like; another try would only get it again."""
        what = (
            f"answered with {_tidy(media_type, '')}, which is no API: see base_url, which mostly ends in /v1"
        )
        return self.unavailable(what, _REFUSED_RETRY_AFTER)

    def broke_off(self, what: str) -> WeftError:
        """Say that it gave half an answer."""
        return EngineFailed(f"The upstream {self.origin} of this model {what}.")

    def unknown_model(self, names: Sequence[str]) -> LoadFailed:
        """Say that its list does not have the model."""
        known = ", ".join(names[:_MOST_NAMES]) + (" ..." if len(names) > _MOST_NAMES else "")
        what = f"does not have the model '{self.model}'; it has: {known or 'none'}"
        return LoadFailed(f"The upstream {self.origin} {what}.")

    def of_status(self, words: Words, headers: Mapping[str, str]) -> Exception:
        """Choose what to raise for an answer that is none."""
        status, said = words.status, f": {words.text}" if words.text else ""
        if status in _OPERATORS:
            return self._of_permission(words)
        if status == 404:
            what = f"does not know the model '{self.model}', or base_url is wrong (404)"
            return LoadFailed(f"The upstream {self.origin} {what}{said}.")
        if status == 429:
            wait = retry_after_seconds(headers)
            message = f"The upstream {self.origin} of this model takes no more requests now (429){said}."
            return ReplicaFull(message, retry_after=_RETRY_AFTER if wait is None else timedelta(seconds=wait))
        if status >= 500 or status in (408, 409, 425):
            wait = retry_after_seconds(headers)
            after = _RETRY_AFTER if wait is None else timedelta(seconds=wait)
            return Trouble(self.unavailable(f"answers {status}{said}", after), after_seconds=wait)
        if status < 400:
            return self.unavailable(f"answers {status} where an answer to a chat is expected; see base_url")
        return self.refused(words)

    def _of_permission(self, words: Words) -> Exception:
        """Of a key, an account, a region; what moderation (OpenRouter has it) finds is the request's."""
        if words.status == 403 and _MODERATION.search(f"{words.kind} {words.text}"):
            return self.refused(words)
        what, mends = _OPERATORS[words.status]
        # Not in its own words where the key is wrong: they quote it.
        said = f": {words.text}" if words.text and words.status != 401 else ""
        failure = self.unavailable(f"{what} ({words.status}){said}; {mends}", _REFUSED_RETRY_AFTER)
        # An account that is empty is so for whoever asks, but another key may be another account's.
        return KeyRefused(failure, words.status)

    def of_words(self, words: Words) -> Exception:
        """Choose what to raise for a failure that a stream tells of."""
        if 400 <= words.status < 500 and words.status not in (408, 409, 425):
            return self.of_status(words, {})
        if _CONTEXT.search(words.kind):
            return self.refused(words)
        return Trouble(self.broke_off(f"failed: {words.text or 'it did not say why'}"))

    def refused(self, words: Words) -> WeftError:
        """The request itself is what it cannot use."""
        if _CONTEXT.search(words.kind) or _CONTEXT.search(words.text):
            if counted := _LLAMA_CPP.search(words.text):
                return messages_too_long(*map(int, counted.groups()))
            text = words.text or "The messages are longer than this model's maximum context length."
            return ContextLengthExceeded(text, violations=[FieldViolation("messages", text)])
        what = f"The upstream of this model cannot use the request: {words.text or words.status}"
        return Refused(what, words.about)


def read_words(body: bytes, status: int, key: str) -> Words:
    """Find the words in an error body, in whichever of the usual shapes it is; a web page has none."""
    try:
        content: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode(errors="replace").strip()
        line = "" if text.startswith("<") else _tidy(text, key)
        return Words(line, status=status, about=_about(line))
    return words_in(content, status, key)


def words_in(content: object, status: int, key: str) -> Words:
    """Find the words in an error object: OpenAI's, FastAPI's `detail`, Ollama's bare text."""
    error: Any = content
    if isinstance(error, dict):
        error = next((error[name] for name in ("error", "detail") if error.get(name)), error)
    if not isinstance(error, dict):
        return Words(_tidy(str(error), key), status=status, about=_tidy(_about(error), key))
    kind = " ".join(str(error[name]) for name in ("code", "type") if error.get(name))
    code = error.get("code")
    own = code if isinstance(code, int) and 400 <= code < 600 else 0
    message = error.get("message", "")
    named = " ".join(str(error[name]) for name in ("param", "code") if error.get(name))
    about = _tidy(f"{named} {_about(message)}", key)
    return Words(_tidy(str(message), key), _tidy(kind, key), status or own, about)


def _about(said: Any) -> str:
    """Leave out what pydantic quotes of the request as `input`, which is whatever its caller wrote."""
    if isinstance(said, dict):  # Mistral's, below `message`
        said = said.get("detail")
    if isinstance(said, list):
        # Deeper down are the names of callers, such as those of a tool's parameters.
        return " ".join(
            f"{each.get('type', '')} {each['loc'][:2]}"
            for each in said
            if isinstance(each, dict) and isinstance(each.get("loc"), list)
        )
    # The same list as Python writes it, in a message of older vLLMs.
    return _QUOTED.split(said, maxsplit=1)[0] if isinstance(said, str) else ""


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Read how long an upstream wants to be left alone; dates, which clocks would have to agree on, are not read."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return min(max(seconds, 0.0), _MOST_RETRY_AFTER_SECONDS) if seconds == seconds else None


def _tidy(text: str, key: str) -> str:
    """One short line without the key, however it was quoted."""
    if key:
        text = text.replace(key, "***")
    line = " ".join(_WORD.sub(lambda word: _struck_out(word[0], key), text[:_MOST_READ]).split())
    return (line if len(line) <= _MAX_WORDS else line[: _MAX_WORDS - 3] + "...").rstrip(".")


def _struck_out(word: str, key: str) -> str:
    """Providers quote the keys that they refuse in part: `sk-ab***yz`, `sk-abcdefgh...`."""
    is_part = len(key) >= _SHORTEST_KEY and key[:_TELLING] in word
    return "***" if is_part or "***" in word else word
