"""Foreign dialects: whose words an answer is told in, by the path that was asked."""

import re
from collections.abc import Mapping
from enum import StrEnum


class Dialect(StrEnum):
    """A wire format; its value is what envoy/route_options.yaml calls the shape of its errors."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    OLLAMA = "ollama"
    JINA = "jina"
    COHERE = "cohere"
    # Our own typed API over REST, whose errors are google.rpc.Status.
    WEFT = "google.rpc.Status"


ANTHROPIC_VERSION = "anthropic-version"
"""A header that Anthropic's clients send always: by it they get the list of models in their own words."""

PATHS: Mapping[Dialect, str] = {
    Dialect.WEFT: r"^/api/(node|models/|leases|queues|events)",
    # All that is not our own, so that clients with a path that we do not know find the error that they look for.
    Dialect.OLLAMA: r"^/api/",
    Dialect.ANTHROPIC: r"^/v1/messages([/?].*)?$",
    Dialect.JINA: r"^/v1/rerank(\?.*)?$",
    Dialect.COHERE: r"^/v2/rerank(\?.*)?$",
}
"""Regular expressions that Python and Envoy (RE2) read alike, of which the first that matches counts.

Everything else is told in OpenAI's words."""

LISTS = r"^/v1/models([/?].*)?$"
"""Paths that both OpenAI's and Anthropic's clients ask."""

RPCS = "/weft.dialect.v1."
"""Where the paths of the dialects' rpcs begin."""

_SERVICES: Mapping[str, Dialect] = {
    "OpenAIService": Dialect.OPENAI,
    "LocalAIService": Dialect.OPENAI,
    "AnthropicService": Dialect.ANTHROPIC,
    "OllamaService": Dialect.OLLAMA,
    "JinaService": Dialect.JINA,
    "CohereService": Dialect.COHERE,
}
_COMPILED = tuple((dialect, re.compile(pattern)) for dialect, pattern in PATHS.items())
_COMPILED_LISTS = re.compile(LISTS)


def dialect_of(path: str, headers: Mapping[str, str]) -> Dialect:
    """Whose words a path's answers have; that of an rpc of weft.dialect.v1 is its service's."""
    if path.startswith(RPCS):
        return _SERVICES.get(path.removeprefix(RPCS).partition("/")[0], Dialect.OPENAI)
    if ANTHROPIC_VERSION in headers and _COMPILED_LISTS.match(path):
        return Dialect.ANTHROPIC
    return next((dialect for dialect, pattern in _COMPILED if pattern.match(path)), Dialect.OPENAI)
