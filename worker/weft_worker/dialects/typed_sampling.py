"""How tokens are chosen, and what form they have, in weft.inference.v1: the same for chats and for completions."""

from collections.abc import Iterator
from typing import Any

from weft_common.errors import FieldViolation
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb
from weft_worker.engines.base import Form, GrammarForm, JsonForm, Sampling

_MAX_STOP_COUNT = 128
_MAX_BIAS_COUNT = 300


def sampling_violations(sampling: pb.Sampling, *, least_tokens: int = 1) -> Iterator[FieldViolation]:
    """What is wrong with it; `least_tokens` is the least that `max_tokens` may be."""
    yield from _outside("temperature", sampling, 0, 2)
    yield from _outside("top_p", sampling, 0, 1)
    yield from _outside("frequency_penalty", sampling, -2, 2)
    yield from _outside("presence_penalty", sampling, -2, 2)
    yield from _outside("max_tokens", sampling, least_tokens, 2**31 - 1)
    yield from _outside("top_k", sampling, 0, 2**31 - 1)
    yield from _outside("min_p", sampling, 0, 1)
    yield from _outside("repetition_penalty", sampling, 1e-3, 10)
    yield from _outside("top_logprobs", sampling, 0, 20)
    if len(sampling.logit_bias) > _MAX_BIAS_COUNT or any(
        token >= 2**31 or not -100 <= bias <= 100 for token, bias in sampling.logit_bias.items()
    ):
        yield FieldViolation("sampling.logit_bias", f"At most {_MAX_BIAS_COUNT}, each from -100 to 100")
    if len(sampling.stop) > _MAX_STOP_COUNT:
        yield FieldViolation("sampling.stop", f"At most {_MAX_STOP_COUNT} strings are allowed")


def read_sampling(sampling: pb.Sampling) -> Sampling:
    """Say it in the words of engines."""

    def value(field: str) -> Any:
        return getattr(sampling, field) if sampling.HasField(field) else None

    return Sampling(
        temperature=value("temperature"),
        top_p=value("top_p"),
        seed=sampling.seed if sampling.HasField("seed") else None,
        max_tokens=sampling.max_tokens if sampling.HasField("max_tokens") else None,
        stop=tuple(text for text in sampling.stop if text),
        ignore_eos=sampling.ignore_eos,
        frequency_penalty=value("frequency_penalty"),
        presence_penalty=value("presence_penalty"),
        top_k=value("top_k"),
        min_p=value("min_p"),
        repetition_penalty=value("repetition_penalty"),
        logit_bias=dict(sampling.logit_bias),
        top_logprobs=value("top_logprobs"),
    )


def read_form(form: pb.AnswerFormat) -> Form | None:
    """Say in the words of engines what form an answer has."""
    match form.WhichOneof("kind"):
        case "json_schema":
            return JsonForm(form.json_schema)
        case "grammar":
            return GrammarForm(form.grammar)
        case _:
            return None


def _outside(field: str, sampling: pb.Sampling, low: float, high: float) -> Iterator[FieldViolation]:
    # Written so that NaN is outside.
    if sampling.HasField(field) and not low <= getattr(sampling, field) <= high:
        yield FieldViolation(f"sampling.{field}", f"Should be from {low} to {high}")
