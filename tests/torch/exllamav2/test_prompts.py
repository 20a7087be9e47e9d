"""Where prompts and tokens are made: in threads beside the loop, which end with the model."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.torch.exllamav2.conftest import Bench, MakeBench
from tests.torch.tiny_folder import write_base_folder
from tests.worker.engines.answers import ask, complete, question
from weft_common.errors import EngineFailed, InvalidRequest
from weft_worker.engines.abilities import Conversation
from weft_worker.engines.base import Completion, Generation, JsonForm, Sampling
from weft_worker.engines.chat_template import ChatTemplate
from weft_worker.engines.guidance import Guides

pytestmark = pytest.mark.torch
FORMED = replace(question(), form=JsonForm('{"type": "object"}'))


@pytest.mark.parametrize("generation", [question(), FORMED], ids=["free", "formed"])
async def test_a_close_while_a_prompt_is_made_fails_its_request_with_that(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, generation: Generation
) -> None:
    loop, render = asyncio.get_running_loop(), ChatTemplate.render

    def close_and_render(template: ChatTemplate, *arguments: Any) -> str:
        asyncio.run_coroutine_threadsafe(bench.engine.close(), loop).result()
        return render(template, *arguments)

    monkeypatch.setattr(ChatTemplate, "render", close_and_render)
    with pytest.raises(EngineFailed, match="closed meanwhile"):
        await ask(bench.engine, generation)


async def test_tokens_are_spelled_beside_the_loop(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, spelling = set[threading.Thread](), Guides.spelling

    def note(guides: Guides, token: int) -> bytes:
        threads.add(threading.current_thread())
        return spelling(guides, token)

    monkeypatch.setattr(Guides, "spelling", note)
    tokens = await bench.engine.tokenize("green apple river", with_pieces=True)
    assert b"".join(tokens.pieces) == b"green apple river"
    assert threads
    assert threading.main_thread() not in threads


async def test_a_folder_without_a_chat_template_goes_on_with_texts_and_chats_by_one_that_is_named(
    bench: Bench, make_bench: MakeBench, tiny_folder: Path, tmp_path: Path
) -> None:
    base = str(write_base_folder(tmp_path / "base", tiny_folder))
    text = Completion("The capital of", Sampling(max_tokens=8, temperature=0))
    plain = (await make_bench(path=base)).engine
    assert (await complete(plain, text)).text == (await complete(bench.engine, text)).text != ""
    for refused in (ask(plain, question()), plain.tokenize(Conversation(question().messages))):
        with pytest.raises(InvalidRequest, match="has no chat template: ask /v1/completions"):
            await refused
    named = (await make_bench(path=base, options={"chat_template": "chat.jinja"})).engine
    assert (await ask(named, question())).text == (await ask(bench.engine, question())).text
