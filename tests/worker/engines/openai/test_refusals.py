"""What the upstream engine learns from refusals, for the call that was refused and for others."""

import asyncio
from pathlib import Path

import pytest

from tests.upstreams.misbehaving import GOOD, Script, Seen, answer, error, event, misbehaving, stream
from tests.worker.engines.answers import ask, question
from tests.worker.engines.openai.loaded import loaded, model
from weft_common.errors import InvalidRequest, LoadFailed, PartUnavailable
from weft_worker.engines.openai import OpenAIEngine


async def test_a_key_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    async with loaded(error(401, "no"), GOOD, key_file=str(path)) as (engine, upstream):
        path.write_text("new")
        assert (await ask(engine, question())).text == "Hello"
        assert [seen.headers["authorization"] for seen in upstream.seen] == ["Bearer old", "Bearer new"]


async def test_all_whose_key_was_replaced_at_once_are_answered(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    async with loaded(slot_count=4, key_file=str(path)) as (engine, upstream):
        path.write_text("new")
        upstream.choose = lambda seen: (
            GOOD if seen.headers["authorization"] == "Bearer new" else error(401, "no")
        )
        told = await asyncio.gather(*(ask(engine, question()) for _ in range(4)))
        assert [each.text for each in told] == ["Hello"] * 4
        assert len(upstream.seen) == 8


async def test_an_upstream_is_spoken_to_as_it_wants_it() -> None:
    unknown = error(400, "Unrecognized argument: stream_options")
    other = error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    async with loaded(unknown, other, GOOD) as (engine, upstream):
        await ask(engine, question(max_tokens=5))
        await ask(engine, question(max_tokens=5))
        last = upstream.seen[-1].body
    assert len(upstream.seen) == 4
    assert last["max_completion_tokens"] == 5
    assert not {"stream_options", "max_tokens"} & set(last)


USAGE_REFUSED = {
    "words": error(400, "Unrecognized argument: stream_options"),
    "the parameter": error(400, "Unsupported.", param="stream_options", code="unsupported_parameter"),
    "FastAPI": answer(422, {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs"}]}),
    "Mistral": answer(422, {"message": {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra"}]}}),
    "an older vLLM": error(
        400, "[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options'), 'input': 1}]"
    ),
    "Ollama": answer(400, {"error": 'json: unknown field "stream_options"'}),
}


@pytest.mark.parametrize("script", USAGE_REFUSED.values(), ids=USAGE_REFUSED.keys())
async def test_what_is_refused_is_found_wherever_upstreams_tell_it(script: Script) -> None:
    async with loaded(script, GOOD) as (engine, upstream):
        assert (await ask(engine, question())).text == "Hello"
        assert "stream_options" not in upstream.seen[-1].body


def _takes_no_usage(seen: Seen) -> Script:
    return error(400, "Unrecognized argument: stream_options") if "stream_options" in seen.body else GOOD


async def test_all_who_were_refused_at_once_are_answered_in_the_end() -> None:
    async with loaded(slot_count=4) as (engine, upstream):
        upstream.choose = _takes_no_usage
        told = await asyncio.gather(*(ask(engine, question()) for _ in range(4)))
        assert [each.text for each in told] == ["Hello"] * 4
        assert len(upstream.seen) == 8


ECHO = "stream_options include_usage max_completion_tokens"
QUOTED = {
    "FastAPI": answer(422, {"detail": [{"loc": ["body", "messages", 0], "msg": "bad", "input": ECHO}]}),
    "vLLM": error(400, f"[{{'loc': ('body', 'messages', 0), 'msg': 'bad', 'input': '{ECHO}'}}]"),
}


@pytest.mark.parametrize("script", QUOTED.values(), ids=QUOTED.keys())
async def test_what_a_refusal_quotes_of_the_prompt_teaches_nothing(script: Script) -> None:
    async with loaded(script) as (engine, upstream):
        with pytest.raises(InvalidRequest):
            await ask(engine, question(ECHO, max_tokens=5))
        assert len(upstream.seen) == 1


async def test_what_did_not_help_one_call_changes_nothing_for_others() -> None:
    async with loaded(error(400, f"bad message: {ECHO}")) as (engine, upstream):
        with pytest.raises(InvalidRequest, match="bad message"):
            await ask(engine, question(ECHO, max_tokens=5))
        upstream.scripts = [GOOD]
        await ask(engine, question(max_tokens=5))
        assert {"stream_options", "max_tokens"} <= set(upstream.seen[-1].body)


KEY = "sk-proj-0123456789abcdefwxyz"
FORBIDDEN = {
    "credits": (
        error(402, "Insufficient credits", code=402),
        r"no credits \(402\): Insufficient credits; its op",
    ),
    "credits in the stream": (
        stream(event({"error": {"message": "Insufficient credits", "code": 402}})),
        r"no credits \(402\): Insufficient credits",
    ),
    "a region": (
        error(
            403, "Country, region, or territory not supported", code="unsupported_country_region_territory"
        ),
        r"does not permit this \(403\): Country, region, or territory not supported; the key",
    ),
    "an account": (error(403, "Your account was flagged"), r"\(403\): Your account was flagged; the key"),
    "no words": (answer(403, b"<html>Forbidden</html>"), r"does not permit this \(403\); the key"),
}


@pytest.mark.parametrize(("script", "words"), FORBIDDEN.values(), ids=FORBIDDEN.keys())
async def test_what_only_the_operator_can_mend_is_not_the_callers_fault(
    tmp_path: Path, script: Script, words: str
) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    async with loaded(script, key_file=str(path)) as (engine, upstream):
        with pytest.raises(PartUnavailable, match=words) as failure:
            await ask(engine, question())
        assert len(upstream.seen) == 1
    assert "refuses the key" not in str(failure.value)
    assert failure.value.retry_after is not None
    assert failure.value.retry_after.total_seconds() == 30


async def test_a_model_without_credits_fails_to_load_and_says_why() -> None:
    async with misbehaving(error(402, "Insufficient credits")) as upstream:
        with pytest.raises(LoadFailed, match=r"no credits.*Insufficient credits"):
            await OpenAIEngine().load(model(upstream), lambda fraction: None)


async def test_a_request_that_moderation_refuses_is_told_so_to_its_caller() -> None:
    script = error(
        403, "anthropic/claude-2 requires moderation on Anthropic. Your input was flagged.", code=403
    )
    async with loaded(script) as (engine, upstream):
        with pytest.raises(InvalidRequest, match="Your input was flagged"):
            await ask(engine, question())
        assert len(upstream.seen) == 1


@pytest.mark.parametrize(
    "quoted", [KEY, "sk-proj-***************wxyz", "sk-proj-0123...wxyz", "sk-proj-01\u2026", "****wxyz"]
)
async def test_no_part_of_a_key_is_told_however_it_is_quoted(tmp_path: Path, quoted: str) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    async with loaded(error(403, f"The key '{quoted}' may not do that"), key_file=str(path)) as (engine, _):
        with pytest.raises(PartUnavailable, match=r"The key '\*\*\*' may not do that"):
            await ask(engine, question())
