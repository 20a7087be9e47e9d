"""How a part ends: 78 for its settings, 1 with one line for what it foresaw, with a traceback else."""

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest
from pydantic_settings import BaseSettings, SettingsConfigDict

from weft_common.entry import EX_CONFIG, start
from weft_common.errors import InternalError
from weft_common.urls import NatsUrl


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="WEFT_")

    nats_url: NatsUrl


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WEFT_NATS_URL", "nats://x")
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


async def refuse(settings: Settings, stop: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as outer:
        outer.create_task(_refuse_inside())


async def _refuse_inside() -> None:
    async with asyncio.TaskGroup() as inner:
        for _ in range(2):
            inner.create_task(_fail())


async def _fail() -> None:
    raise InternalError("The database has schema 9999.")


async def crash(settings: Settings, stop: asyncio.Event) -> None:
    raise ZeroDivisionError


def test_a_refusal_in_groups_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert start("router", Settings, refuse) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert json.loads(line)["error"] == "The database has schema 9999."


def test_a_crash_has_its_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    assert start("router", Settings, crash) == 1
    assert "Traceback" in json.loads(capfd.readouterr().err)["exception"]


def test_a_bad_setting_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WEFT_NATS_URL", "http://secret@x")
    assert start("router", Settings, crash) == EX_CONFIG
    assert capfd.readouterr().err == "router: WEFT_NATS_URL: nats://TOKEN@HOST:4222 is needed (or tls://)\n"
