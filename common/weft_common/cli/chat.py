"""`weft chat`: a conversation in the terminal, or one question in a script."""

import contextlib
import sys
from pathlib import Path

from weft_common.cli.client import CallFailed, Endpoint, Message
from weft_common.cli.endpoint import endpoint_of

_LEAVE = ("/exit", "/quit")
_INTERRUPTED = 130


def run_chat(
    root: Path,
    model: str | None,
    prompt: str | None,
    *,
    url: str | None,
    key: str | None,
    max_tokens: int | None,
) -> int:
    """Answer one question, or as many as a person asks; return the exit code."""
    endpoint = endpoint_of(root, url, key)
    try:
        chat = Chat(endpoint, model or _first_chat_model(endpoint), max_tokens)
        if prompt is None and sys.stdin.isatty():
            return chat.converse()
        return 0 if chat.ask(sys.stdin.read() if prompt is None else prompt) else _INTERRUPTED
    except CallFailed as error:
        print(f"weft: {error}", file=sys.stderr)
        return 1


class Chat:
    """One conversation. State: the turns so far, all of which go with each question."""

    def __init__(self, endpoint: Endpoint, model: str, max_tokens: int | None) -> None:
        self._endpoint = endpoint
        self._model = model
        self._max_tokens = max_tokens
        self._turns: list[Message] = []

    def converse(self) -> int:
        """Ask and answer until the person leaves."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (its import gives input() a history and editing keys)
        print(
            f"{self._model} at {self._endpoint.url}; /exit leaves, /new starts over, Ctrl-C cuts an answer short"
        )
        while True:
            try:
                question = input("> ").strip()
            except (EOFError, KeyboardInterrupt):
                print()
                return 0
            if question in _LEAVE:
                return 0
            if question == "/new":
                self._turns.clear()
            elif question:
                self._try(question)

    def ask(self, question: str) -> bool:
        """Print the answer as it comes; False if it was cut short, and then the turn does not count."""
        pieces: list[str] = []
        asked = [*self._turns, Message("user", question)]
        try:
            for piece in self._endpoint.answer(self._model, asked, max_tokens=self._max_tokens):
                pieces.append(piece)
                print(piece, end="", flush=True)
        except KeyboardInterrupt:
            print("\n(cut short)", file=sys.stderr)
            return False
        print()
        self._turns = [*asked, Message("assistant", "".join(pieces))]
        return True

    def _try(self, question: str) -> None:
        try:
            self.ask(question)
        except CallFailed as error:
            print(f"weft: {error}", file=sys.stderr)


def _first_chat_model(endpoint: Endpoint) -> str:
    models = endpoint.models()
    if not models:
        raise CallFailed(
            f"{endpoint.url} serves no model: put a model file into the folder `models` of its WEFT_HOME"
        )
    for model in models:
        if endpoint.chats(model):
            return model
    raise CallFailed(f"no model that {endpoint.url} serves answers conversations: {', '.join(models)}")
