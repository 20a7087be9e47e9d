"""What the upstream engine makes of an upstream that misbehaves."""

import asyncio
import logging
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.upstreams.misbehaving import (
    DONE,
    GOOD,
    HEAD,
    Die,
    Hang,
    Say,
    Script,
    answer,
    chunk,
    error,
    event,
    finish,
    misbehaving,
    stream,
    text,
    usage,
)
from tests.worker.engines.answers import ask, question
from tests.worker.engines.openai.loaded import loaded, model
from weft_common.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineFailed,
    InvalidRequest,
    LoadFailed,
    PartUnavailable,
    ReplicaFull,
    WeftError,
)
from weft_worker.engines.base import (
    Delta,
    FinishReason,
    GrammarForm,
    JsonForm,
    Usage,
)
from weft_worker.engines.openai import OpenAIEngine

KEY = "sk-very-secret"


async def test_text_is_told_as_the_upstream_sent_it_and_usage_as_it_counted() -> None:
    said = ["Grüß ", "\u2028\n", "😀", " \t", '"}']
    script = stream(
        event({"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}),
        chunk(b": keep-alive\n\n"),
        *(text(word, anything={"new": 1}) for word in said),
        finish(),
        usage(7, 5, prompt_tokens_details={"cached_tokens": 3}),
        chunk(DONE),
    )
    async with loaded(script) as (engine, upstream):
        told = await ask(engine, question(max_tokens=9))
    assert [delta.text for delta in told.deltas] == said
    assert (told.reason, told.usage) == (FinishReason.STOP, Usage(7, 5, 3))
    assert upstream.seen[0].body == {
        "model": "theirs",
        "messages": [{"role": "user", "content": "Tell me a story."}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 9,
        "temperature": 0.0,
        "seed": 1,
    }


async def test_the_key_goes_to_the_upstream_in_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    async with loaded(key_env="SOME_KEY") as (engine, upstream):
        await ask(engine, question())
        assert upstream.seen[0].headers["authorization"] == f"Bearer {KEY}"
    async with loaded(key_env="SOME_KEY", key_header="api-key") as (engine, upstream):
        await ask(engine, question())
        assert upstream.seen[0].headers["api-key"] == KEY
        assert "authorization" not in upstream.seen[0].headers


async def test_answers_share_a_connection() -> None:
    async with loaded() as (engine, upstream):
        for _ in range(5):
            await ask(engine, question())
        assert upstream.connection_count == 1


async def test_no_more_requests_are_there_at_once_than_there_are_slots() -> None:
    async with loaded((Say(HEAD), text("a"), Hang())) as (engine, upstream):
        asked = [asyncio.ensure_future(ask(engine, question())) for _ in range(5)]
        while len(upstream.seen) < 2:
            await asyncio.sleep(0)
        asked[0].cancel()
        await asyncio.wait([asked[0]])
        while len(upstream.seen) < 3:
            await asyncio.sleep(0)
        assert len(upstream.seen) == 3
        await engine.close()
        done = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(each) for each in done[1:]} == {EngineFailed}


@pytest.mark.parametrize("script", [(Hang(),), (Say(HEAD), Hang()), (Say(HEAD), text("a"), Hang())])
async def test_the_upstream_sees_at_once_that_nobody_listens_any_more(script: Script) -> None:
    async with loaded(script) as (engine, upstream):
        asked = asyncio.ensure_future(ask(engine, question()))
        while not upstream.seen:
            await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        async with asyncio.timeout(5):
            await upstream.hung_up.wait()


async def test_a_closed_generator_hangs_up() -> None:
    async with loaded((Say(HEAD), text("a"), Hang())) as (engine, upstream):
        async with aclosing(engine.generate(question())) as events:
            assert await anext(events) == Delta("a")
        async with asyncio.timeout(5):
            await upstream.hung_up.wait()


async def test_what_is_not_counted_by_the_upstream_is_counted_here() -> None:
    async with loaded(stream(text("a"), text("b"), finish(), chunk(DONE))) as (engine, _):
        assert (await ask(engine, question("x" * 41))).usage == Usage(11, 2)


@pytest.mark.parametrize("told", [usage(-1, 2), usage("7", 2), usage(None, None), usage(True, 2**40)])
async def test_a_nonsensical_count_is_none(told: Say) -> None:
    async with loaded(stream(text("a"), finish(), told, chunk(DONE))) as (engine, _):
        assert (await ask(engine, question("abcd"))).usage == Usage(1, 1)


@pytest.mark.parametrize(
    "script",
    [
        stream(text("ab"), finish("length")),
        (Say(HEAD), text("ab"), finish("length"), Die()),
        stream(text("a"), event({"choices": [{"delta": {"content": "b"}, "finish_reason": "length"}]})),
        answer(200, {"choices": [{"message": {"content": "ab"}, "finish_reason": "length"}]}),
    ],
    ids=["no DONE", "dead after the reason", "text with the reason", "no stream"],
)
async def test_an_answer_is_whole_once_its_reason_is_told(script: Script) -> None:
    async with loaded(script) as (engine, _):
        told = await ask(engine, question())
        assert (told.text, told.reason) == ("ab", FinishReason.LENGTH)


@pytest.mark.parametrize(
    "kind", [b"Text/Event-Stream; charset=utf-8", b"text/plain", b"application/octet-stream", b""]
)
async def test_a_stream_is_read_as_one_whatever_it_is_called(kind: bytes) -> None:
    head = HEAD.replace(
        b"content-type: text/event-stream\r\n", b"content-type: %b\r\n" % kind if kind else b""
    )
    async with loaded((Say(head), *GOOD[1:])) as (engine, _):
        assert (await ask(engine, question())).text == "Hello"


@pytest.mark.parametrize(
    ("said", "found"),
    [({"stop_reason": "b"}, "b"), ({"matched_stop": "b"}, "b"), ({"stop_reason": 151645}, ""), ({}, "")],
    ids=["vLLM", "SGLang", "a token", "no word"],
)
async def test_the_stop_string_is_told_where_the_upstream_says_which(
    said: dict[str, object], found: str
) -> None:
    last = {"choices": [{"delta": {}, "finish_reason": "stop", **said}]}
    async with loaded(stream(text("ab"), event(last), chunk(DONE))) as (engine, _):
        assert (await ask(engine, question(stop=("c", "b")))).stop_sequence == found


BROKEN = {
    "no reason": stream(text("a"), chunk(DONE)),
    "no end": stream(text("a")),
    "death": (Say(HEAD), text("a"), Die()),
    "silence": (Say(HEAD), text("a"), Hang()),
    "no JSON": stream(text("a"), chunk(b"data: <html>\n\n")),
    "no chunk": stream(text("a"), event(["b"])),
    "no choice": stream(text("a"), event({"choices": [5]})),
    "no text": stream(text("a"), event({"choices": [{"delta": {"content": 5}}]})),
    "no chunked body": (Say(HEAD), text("a"), Say(b"zz\r\n")),
    "an error": stream(text("a"), event({"error": {"message": "CUDA error"}})),
    "a refusal": stream(text("a"), event({"error": {"message": "no", "code": 401}})),
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN.keys())
async def test_half_an_answer_is_a_failure_and_is_not_asked_for_again(script: Script) -> None:
    async with loaded(script, silence_timeout="0.05") as (engine, upstream):
        with pytest.raises(EngineFailed, match="upstream"):
            await ask(engine, question())
        assert len(upstream.seen) == 1


@pytest.mark.parametrize("count", [10**6, "YQ==", [256], [1.5], {"a": 1}])
async def test_the_bytes_of_a_token_are_a_list_of_numbers(count: object) -> None:
    told = {"content": [{"token": "a", "bytes": count, "logprob": -1.0}]}
    async with loaded(stream(text("a", logprobs=told), finish()), retries="0") as (engine, _):
        with pytest.raises(EngineFailed, match="no part of an answer"):
            await ask(engine, question(top_logprobs=0))


UNLUCKY = {
    "500": error(500, "CUDA error"),
    "502": answer(502, b"<html>Bad gateway</html>"),
    "503": error(503, "Loading model", "retry-after: 0"),
    "death": (Die(),),
    "death after the head": (Say(HEAD), Die()),
    "silence": (Hang(),),
    "nothing": stream(),
    "garbage": (Say(b"\x00\x01\x02\r\n\r\n"),),
    "an error in the stream": stream(event({"error": {"message": "overloaded", "code": 503}})),
}


@pytest.mark.parametrize("script", UNLUCKY.values(), ids=UNLUCKY.keys())
async def test_before_the_first_word_another_try_is_made(script: Script) -> None:
    async with loaded(script, GOOD, first_token_timeout="0.2") as (engine, upstream):
        assert (await ask(engine, question())).text == "Hello"
        assert len(upstream.seen) == 2


@pytest.mark.parametrize("script", UNLUCKY.values(), ids=UNLUCKY.keys())
async def test_after_the_last_try_the_failure_is_told(script: Script) -> None:
    async with loaded(script, first_token_timeout="0.1", retries="1") as (engine, upstream):
        with pytest.raises(
            (PartUnavailable, EngineFailed, DeadlineExceeded), match="The upstream http://127"
        ):
            await ask(engine, question())
        assert len(upstream.seen) == 2


async def test_an_upstream_that_is_gone_is_unavailable() -> None:
    engine = OpenAIEngine()
    async with misbehaving() as upstream:
        gone = model(upstream, retries="1")
        await engine.load(gone, lambda fraction: None)
    with pytest.raises(PartUnavailable, match="cannot be reached"):
        await ask(engine, question())
    await engine.close()
    with pytest.raises(LoadFailed, match="cannot be reached"):
        await OpenAIEngine().load(gone, lambda fraction: None)


async def test_no_try_is_made_that_would_begin_too_late() -> None:
    script = error(503, "Loading model", "retry-after: 60")
    async with loaded(script, timeout="5") as (engine, upstream):
        with pytest.raises(PartUnavailable, match="answers 503: Loading model") as failure:
            await ask(engine, question())
        assert len(upstream.seen) == 1
    assert failure.value.retry_after is not None
    assert failure.value.retry_after.total_seconds() == 60


async def test_a_slow_upstream_is_told_apart_from_one_that_is_gone() -> None:
    async with loaded((Hang(),), first_token_timeout="0.05", retries="0") as (engine, _):
        with pytest.raises(DeadlineExceeded, match="has not answered in time"):
            await ask(engine, question())


async def test_a_busy_upstream_is_busy_for_as_long_as_it_says() -> None:
    async with loaded(error(429, "Rate limit reached", "retry-after: 7")) as (engine, upstream):
        with pytest.raises(ReplicaFull, match="Rate limit reached") as failure:
            await ask(engine, question())
        assert len(upstream.seen) == 1
    assert failure.value.retry_after is not None
    assert failure.value.retry_after.total_seconds() == 7


REFUSED: dict[str, tuple[Script, type[WeftError], str]] = {
    "OpenAI": (error(400, "Too long.", code="context_length_exceeded"), ContextLengthExceeded, "Too long"),
    "vLLM": (
        error(400, "This model's maximum context length is 512 tokens.", type="BadRequestError", code=400),
        ContextLengthExceeded,
        "512",
    ),
    "llama.cpp": (
        error(400, "request (9 tokens)", type="exceed_context_size_error"),
        ContextLengthExceeded,
        "9",
    ),
    "TGI": (
        answer(
            422, {"error": "`inputs` tokens + `max_new_tokens` must be <= 512", "error_type": "validation"}
        ),
        ContextLengthExceeded,
        "512",
    ),
    "FastAPI": (answer(422, {"detail": [{"msg": "bad temperature"}]}), InvalidRequest, "bad temperature"),
    "words": (answer(400, b"what?"), InvalidRequest, "what?"),
    "unknown model": (error(404, "The model does not exist"), LoadFailed, "'theirs'"),
    "a page": (
        answer(200, b"<!doctype html><title>Welcome</title>"),
        PartUnavailable,
        "answered with text/html, which is no API: see base_url",
    ),
    "a redirect": (answer(307, {}, "location: http://evil/"), PartUnavailable, "answers 307"),
    "in the stream": (stream(event({"error": {"message": "bad", "code": 400}})), InvalidRequest, "bad"),
}


@pytest.mark.parametrize(("script", "kind", "words"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_refusal_is_told_for_what_it_is_and_not_tried_again(
    script: Script, kind: type[WeftError], words: str
) -> None:
    async with loaded(script) as (engine, upstream):
        with pytest.raises(kind, match=words):
            await ask(engine, question())
        assert len(upstream.seen) == 1


async def test_a_refused_key_is_the_operators_affair_and_never_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "key"
    path.write_text(KEY)
    async with loaded(error(401, f"Incorrect API key provided: {KEY}"), key_file=str(path)) as (
        engine,
        upstream,
    ):
        with pytest.raises(PartUnavailable, match="refuses the key that this node has for it") as failure:
            await ask(engine, question())
        assert len(upstream.seen) == 1
    assert KEY not in str(failure.value)
    assert KEY not in "".join(record.getMessage() + str(record.__dict__) for record in caplog.records)


async def test_a_key_is_never_told_in_other_failures_either(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    for script in (error(400, f"bad header {KEY}"), error(500, f"bad header {KEY}"), error(404, KEY)):
        async with loaded(script, key_file=str(path), retries="0") as (engine, _):
            with pytest.raises(WeftError) as failure:
                await ask(engine, question())
            assert KEY not in str(failure.value)


@pytest.mark.parametrize(
    ("scripts", "words"),
    [
        ([error(401, "no")], "refuses the key"),
        ([error(404, "no such model")], "does not know the model 'theirs'.*no such model"),
        ([error(500, "CUDA error")], "answers 500: CUDA error"),
        ([(Die(),)], "broke the connection off"),
        ([answer(200, b"<html>Welcome</html>")], "answered with text/html, which is no API"),
    ],
)
async def test_a_model_that_cannot_be_used_fails_to_load(scripts: list[Script], words: str) -> None:
    async with misbehaving(*scripts) as upstream:
        with pytest.raises(LoadFailed, match=words):
            await OpenAIEngine().load(model(upstream, retries="0"), lambda fraction: None)


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_certificates_that_cannot_be_read_fail_the_load(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    async with misbehaving() as upstream:
        with pytest.raises(LoadFailed, match=f"The certificates in {path} cannot be used"):
            await OpenAIEngine().load(model(upstream, ca_file=str(path)), lambda fraction: None)
        assert not upstream.seen


@pytest.mark.parametrize("script", [error(429, "busy"), error(400, "max_tokens is too small")])
async def test_an_upstream_that_is_busy_or_choosy_is_there(script: Script) -> None:
    async with misbehaving(script) as upstream:
        engine = OpenAIEngine()
        await engine.load(model(upstream), lambda fraction: None)
        await engine.close()


@pytest.mark.parametrize(
    ("script", "fine"),
    [
        (answer(200, {"data": [{"id": "theirs"}, {"id": "other"}]}), True),
        (answer(200, {"data": [{"id": "theirs:latest"}]}), True),
        (answer(404, {}), True),
        (answer(200, ["ok"]), True),
        (answer(200, {"data": [{"id": "other"}]}), False),
        (error(401, "no"), False),
        (answer(200, b"<html>Welcome</html>"), False),
    ],
)
async def test_a_probe_of_the_list_costs_no_token(script: Script, *, fine: bool) -> None:
    async with misbehaving(script) as upstream:
        engine = OpenAIEngine()
        if fine:
            await engine.load(model(upstream, probe="models"), lambda fraction: None)
        else:
            with pytest.raises(LoadFailed, match=r"it has: other|refuses the key|is no API"):
                await engine.load(model(upstream, probe="models"), lambda fraction: None)
        await engine.close()
        assert [seen.path for seen in upstream.seen] == ["/v1/models"]


async def test_forms_go_to_the_upstream_in_its_words_or_are_refused() -> None:
    schema = '{"type":"object","properties":{"b":{},"a":{}}}'
    wanted, grammar = (
        replace(question(), form=JsonForm(schema)),
        replace(question(), form=GrammarForm("root ::= x")),
    )
    good = stream(text("{}"), finish())
    async with loaded(good, grammar_field="guided_grammar") as (engine, upstream):
        await ask(engine, wanted)
        await ask(engine, replace(wanted, form=JsonForm('{"type":"object"}')))
        await ask(engine, grammar)
        formats = [seen.body.get("response_format") for seen in upstream.seen]
        assert formats[0]["json_schema"]["schema"]["properties"] == {"b": {}, "a": {}}
        assert formats[1:] == [{"type": "json_object"}, None]
        assert upstream.seen[2].body["guided_grammar"] == "root ::= x"
    async with loaded(json_schema="false") as (engine, upstream):
        for asked in (wanted, grammar):
            with pytest.raises(InvalidRequest, match="takes no"):
                await ask(engine, asked)
        assert not upstream.seen


async def test_a_form_that_was_not_kept_is_a_failure() -> None:
    async with loaded(stream(text("Sure! {"), finish())) as (engine, _):
        with pytest.raises(EngineFailed, match="did not keep to the form"):
            await ask(engine, replace(question(), form=JsonForm('{"type":"object"}')))


async def test_probabilities_that_nobody_tells_are_refused() -> None:
    async with loaded() as (engine, _):
        with pytest.raises(InvalidRequest, match="no probabilities"):
            await ask(engine, question(top_logprobs=2))
