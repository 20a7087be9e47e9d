"""Every path that takes a body, with bodies that use all of its fields, and what an answer to it may be."""

from dataclasses import dataclass
from typing import Any

from tests.e2e.sdk import shapes
from tests.fuzz import checks
from tests.fuzz.bodies import (
    CHAT,
    CHATS,
    COMPLETIONS,
    COUNTS,
    MESSAGES,
    OLLAMA_CHATS,
    OLLAMA_GENERATES,
    RERANKS,
    VECTORS,
)


@dataclass(frozen=True)
class Surface:
    """One path."""

    path: str
    bodies: tuple[dict[str, Any], ...]
    error: checks.Check
    answer: checks.Check


SURFACES = (
    Surface(
        "/v1/chat/completions",
        CHATS,
        checks.one(shapes.OPENAI_ERROR),
        checks.openai(shapes.CHAT_COMPLETION, shapes.CHAT_CHUNK),
    ),
    Surface(
        "/v1/completions",
        COMPLETIONS,
        checks.one(shapes.OPENAI_ERROR),
        checks.openai(shapes.COMPLETION, shapes.COMPLETION_CHUNK),
    ),
    Surface(
        "/v1/embeddings",
        (
            {"model": VECTORS, "input": "cat", "dimensions": 64, "user": "u", "encoding_format": "float"},
            {"model": VECTORS, "input": ["cat", "kitten"], "encoding_format": "float"},
            {"model": VECTORS, "input": [101, 4937, 102], "encoding_format": "float"},
            {"model": VECTORS, "input": [[101, 102], [101, 4937, 102]], "encoding_format": "base64"},
        ),
        checks.one(shapes.OPENAI_ERROR),
        checks.one(shapes.ANY_EMBEDDINGS),
    ),
    Surface("/v1/rerank", RERANKS, checks.jina_error, checks.ranked),
    Surface("/v2/rerank", RERANKS, checks.cohere_error, checks.ranked),
    Surface(
        "/v1/tokenize",
        ({"model": CHAT, "content": "Hello"}, {"model": VECTORS, "content": "cat"}),
        checks.one(shapes.OPENAI_ERROR),
        checks.tokens,
    ),
    Surface("/v1/messages", MESSAGES, checks.one(shapes.ANTHROPIC_ERROR), checks.anthropic),
    Surface(
        "/v1/messages/count_tokens",
        COUNTS,
        checks.one(shapes.ANTHROPIC_ERROR),
        checks.one(shapes.TOKENS_COUNT),
    ),
    Surface(
        "/api/chat",
        OLLAMA_CHATS,
        checks.ollama_error,
        checks.ollama(shapes.OLLAMA_CHAT, shapes.OLLAMA_CHAT_PIECE),
    ),
    Surface(
        "/api/generate",
        OLLAMA_GENERATES,
        checks.ollama_error,
        checks.ollama(shapes.OLLAMA_GENERATE_RAW, shapes.OLLAMA_GENERATE_PIECE),
    ),
    Surface(
        "/api/embed",
        (
            {"model": VECTORS, "input": "cat", "truncate": True, "dimensions": 64, "keep_alive": "5m"},
            {"model": VECTORS, "input": ["cat", "kitten"], "options": {"temperature": 0}},
        ),
        checks.ollama_error,
        checks.one(shapes.OLLAMA_EMBED),
    ),
    Surface(
        "/api/embeddings",
        ({"model": VECTORS, "prompt": "cat", "options": {}},),
        checks.ollama_error,
        checks.one(shapes.OLLAMA_EMBEDDINGS),
    ),
    Surface(
        "/api/show", ({"model": CHAT, "verbose": True},), checks.ollama_error, checks.one(shapes.OLLAMA_SHOW)
    ),
)
