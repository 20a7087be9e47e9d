"""Complete of weft.inference.v1 to and from an engine's words."""

from typing import Any

import pytest

from weft_common.errors import EngineFailed, InvalidRequest
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb
from weft_worker.dialects.typed_complete import read_complete_request, write_step
from weft_worker.engines.base import (
    Completion,
    Delta,
    Finished,
    FinishReason,
    JsonForm,
    Sampling,
    TokenChance,
    TokenLogprob,
    Usage,
)


def test_everything_arrives() -> None:
    request = pb.CompleteRequest(
        text="Once",
        sampling=pb.Sampling(max_tokens=0, stop=["."]),
        format=pb.AnswerFormat(json_schema="{}"),
        suffix="end",
        echo=True,
    )
    assert read_complete_request(request) == Completion(
        "Once", Sampling(max_tokens=0, stop=(".",)), JsonForm("{}"), "end", True
    )
    assert read_complete_request(pb.CompleteRequest(tokens=pb.TokenIds(ids=[3, 1]))) == Completion((3, 1))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "prompt"),
        ({"tokens": pb.TokenIds()}, "prompt"),
        ({"tokens": pb.TokenIds(ids=[2**31])}, "tokens"),
        ({"text": "é" * (2 << 20) + "x"}, "text"),
        ({"text": "a", "suffix": "x" * ((4 << 20) + 1)}, "suffix"),
        ({"text": "a", "sampling": pb.Sampling(max_tokens=0)}, "sampling.max_tokens"),
        ({"text": "a", "sampling": pb.Sampling(top_logprobs=21)}, "sampling.top_logprobs"),
    ],
)
def test_what_cannot_be_used_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_complete_request(pb.CompleteRequest(**fields))
    assert [violation.field for violation in caught.value.violations] == [named]


def test_steps_are_written() -> None:
    chance = TokenChance("a", b"a", -1.0)
    step = pb.CompleteResponse.FromString(write_step(Delta("a", 1, (TokenLogprob(chance),))))
    assert (step.delta, step.logprobs[0].chosen.token_bytes) == ("a", b"a")
    step = pb.CompleteResponse.FromString(write_step(Finished(FinishReason.LENGTH, Usage(3, 2, 1))))
    assert step.finish == pb.Finish(
        reason=pb.FINISH_REASON_LENGTH,
        usage=pb.Usage(prompt_token_count=3, completion_token_count=2, cached_token_count=1),
    )
    step = pb.CompleteResponse.FromString(write_step(EngineFailed("It broke.")))
    assert (step.failure.reason, step.failure.message) == ("ENGINE_FAILED", "It broke.")


@pytest.mark.parametrize("reason", FinishReason)
def test_every_end_has_a_reason_of_its_name(reason: FinishReason) -> None:
    step = pb.CompleteResponse.FromString(write_step(Finished(reason, Usage(1, 1))))
    assert pb.FinishReason.Name(step.finish.reason) == f"FINISH_REASON_{reason.name}"
