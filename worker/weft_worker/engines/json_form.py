"""JSON schemas as grammars of llguidance, which xllamacpp holds inside and other engines use as it is."""

import json
from functools import lru_cache

from weft_common.errors import FieldViolation, InvalidRequest
from weft_worker.engines.closed_schema import closed
from weft_worker.engines.plain_schema import plain, spelled_out
from weft_worker.engines.schema_bounds import bounded

# White space is fixed: a small model would else spend its tokens on it.
_WRITTEN = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
# 64 of these take 8 MB with what was made of them.
_KEPT_BYTES = 1 << 16
# By what the library says.
_OUR_WORDS = {
    "NoExtensionBias": "it refers to nothing but itself",
    "coerce_one_of": "oneOf: its schemas overlap, which cannot be told apart; anyOf can be kept",
}


def check_schema(schema: str, field: str) -> None:
    """Raise InvalidRequest that names what of a schema cannot be kept; blocks for as long as the schema is long.

    The engine itself would answer without any form.
    """
    # Only now: few ask for it, and each backend would wait for its import.
    from llguidance import LLMatcher

    try:
        trouble = LLMatcher.validate_grammar(f'{{"grammars": [{{"json_schema": {_written(schema)}}}]}}')
        trouble = trouble or _first_trouble(schema)
    except (ValueError, RecursionError) as error:
        trouble = str(error)
    if trouble:
        message = f"The JSON schema cannot be kept: {_in_our_words(trouble)}"
        raise InvalidRequest(f"{field}: {message}.", violations=[FieldViolation(field, message)])


def _in_our_words(trouble: str) -> str:
    """The last line says most, but where it is about the library and not about the schema."""
    told = next((words for mark, words in _OUR_WORDS.items() if mark in trouble), "")
    return told or trouble.strip().splitlines()[-1].strip()


def _first_trouble(schema: str) -> str:
    """What keeps a grammar from its first token, as a schema that refers to nothing but itself does."""
    from llguidance import LLMatcher, LLTokenizer

    matcher = LLMatcher(LLTokenizer("byte"), lark_grammar(schema), log_level=0)
    if not matcher.is_error():
        matcher.compute_bitmask()
    return matcher.get_error() or "" if matcher.is_error() else ""


def lark_grammar(schema: str) -> str:
    """The same as xllamacpp takes it."""
    return f"%llguidance {{}}\nstart: %json {_written(schema)}\n"


def lark_choice(schema: str, call_schema: str, *, single_call: bool) -> str:
    """The grammar of JSON after the one schema, or of calls between their marks after the other."""
    more = "" if single_call else ' ("\\n" call)*'
    return (
        f"%llguidance {{}}\nstart: answer | call{more}\nanswer: %json {_written(schema)}\n"
        'call: "<tool_call>\\n" body "\\n</tool_call>"\n'
        f"body: %json {_written(call_schema)}\n"
    )


def keeps(schema: str, text: str) -> bool:
    """Say whether a text is all that a schema asks for, read as the engine writes it; blocks for a millisecond."""
    from llguidance import LLMatcher, LLTokenizer

    form = LLMatcher.grammar_from_json_schema(_written(schema))
    matcher = LLMatcher(LLTokenizer("byte"), form, log_level=0)
    written = text.encode()
    return matcher.try_consume_tokens(list(written)) == len(written) and matcher.is_accepting()


def _written(schema: str) -> str:
    """As the library takes it; each answer needs it several times, and clients ask by the same one again and again."""
    return _kept(schema) if len(schema) <= _KEPT_BYTES else _kept.__wrapped__(schema)


@lru_cache(maxsize=64)
def _kept(schema: str) -> str:
    read = json.loads(schema)
    if not isinstance(read, dict):
        raise ValueError("a JSON object is needed")
    return json.dumps({**spelled_out(closed(bounded(plain(read)))), "x-guidance": _WRITTEN})
