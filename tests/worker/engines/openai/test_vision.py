"""Images for an upstream's model: shown as OpenAI's API has them, where the model file says that it sees."""

from base64 import b64encode

from tests.eye import png
from tests.upstreams.misbehaving import GOOD, Die
from tests.worker.engines.answers import ask
from tests.worker.engines.openai.loaded import loaded
from weft_worker.engines.abilities import Seer
from weft_worker.engines.base import Generation, Image, Message, Role
from weft_worker.engines.openai import OpenAIEngine

PICTURE = png((200, 0, 0))
_PARTS = ("What is", Image(PICTURE, "image/png"), "here?")
SHOWN = Generation(
    (Message(Role.SYSTEM, "Look."), Message(Role.USER, "What is here?", parts=_PARTS)),
)


async def test_it_sees_only_where_its_model_file_says_so() -> None:
    engine = OpenAIEngine()
    assert isinstance(engine, Seer)
    assert not engine.sees_images()
    async with loaded() as (blind, _), loaded(vision="true") as (seeing, _):
        assert (blind.sees_images(), seeing.sees_images()) == (False, True)


async def test_images_are_sent_in_their_places_at_each_try() -> None:
    async with loaded((Die(),), GOOD, vision="true") as (engine, upstream):
        assert (await ask(engine, SHOWN)).text == "Hello"
        first, second = (seen.body["messages"] for seen in upstream.seen)
    url = f"data:image/png;base64,{b64encode(PICTURE).decode()}"
    assert first == second
    assert second == [
        {"role": "system", "content": "Look."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is"},
                {"type": "image_url", "image_url": {"url": url}},
                {"type": "text", "text": "here?"},
            ],
        },
    ]
