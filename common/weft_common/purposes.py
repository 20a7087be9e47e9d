"""What models are for, and what can be asked of which: known before any of them is loaded."""

from collections.abc import Mapping
from enum import StrEnum

from weft_common.errors import FieldViolation, InvalidRequest


class Purpose(StrEnum):
    """What a model is for, after its model file."""

    CHAT = "chat"
    EMBEDDING = "embedding"
    RERANKING = "reranking"


class Ability(StrEnum):
    """What a request asks of a model."""

    CHAT = "chat"
    COMPLETE = "complete"
    EMBED = "embed"
    RERANK = "rerank"
    TOKENIZE = "tokenize"


# The vectors of embedding models tell the order of documents too.
_ABILITIES: Mapping[Purpose, frozenset[Ability]] = {
    Purpose.CHAT: frozenset({Ability.CHAT, Ability.COMPLETE, Ability.TOKENIZE}),
    Purpose.EMBEDDING: frozenset({Ability.EMBED, Ability.RERANK, Ability.TOKENIZE}),
    Purpose.RERANKING: frozenset({Ability.RERANK, Ability.TOKENIZE}),
}
_CANNOT: Mapping[Ability, str] = {
    Ability.CHAT: "cannot answer conversations",
    Ability.COMPLETE: "cannot complete texts",
    Ability.EMBED: "cannot make embeddings",
    Ability.RERANK: "cannot rerank documents",
    Ability.TOKENIZE: "cannot count tokens",
}
_IS_FOR: Mapping[Purpose, str] = {
    Purpose.CHAT: "answers conversations",
    Purpose.EMBEDDING: "makes embeddings",
    Purpose.RERANKING: "reranks documents",
}
_FILE_SAYS: Mapping[Ability, str] = {
    Ability.CHAT: "Models for that have neither `embeddings` nor `reranking` in their model file",
    Ability.COMPLETE: "Models for that have neither `embeddings` nor `reranking` in their model file",
    Ability.EMBED: "Models for that have `embeddings: true` in their model file",
    Ability.RERANK: "Models for that have `reranking: true` or `embeddings: true` in their model file",
}


def require_ability(model: str, purpose: Purpose, ability: Ability) -> None:
    """Raise InvalidRequest, in plain words, where a model is for something else."""
    if ability not in _ABILITIES[purpose]:
        raise _refused(
            f"The model '{model}' {_IS_FOR[purpose]} and {_CANNOT[ability]}. {_FILE_SAYS[ability]}."
        )


def engine_cannot(model: str, backend: str, ability: Ability) -> InvalidRequest:
    """The refusal where the model could, and its engine has no way to."""
    return _refused(f"The engine '{backend}', which runs the model '{model}', {_CANNOT[ability]}.")


def _refused(text: str) -> InvalidRequest:
    return InvalidRequest(text, violations=[FieldViolation("model", text)])
