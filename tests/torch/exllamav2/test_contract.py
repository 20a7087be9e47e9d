"""exllamav2 keeps what every engine keeps, in pages and, as without flash-attn, without."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from tests.torch.contract.gauges import ExllamaGauge
from tests.torch.exllamav2.cpu import CpuRuntime
from tests.worker.engines.contract.conftest import Subject
from tests.worker.engines.contract.gauges import ROOMY, Measured
from tests.worker.engines.contract.memory import Held, measure
from tests.worker.engines.contract.test_calls import *  # noqa: F403
from tests.worker.engines.contract.test_cancels import *  # noqa: F403
from tests.worker.engines.contract.test_completion import *  # noqa: F403
from tests.worker.engines.contract.test_contract import *  # noqa: F403
from tests.worker.engines.contract.test_counting import *  # noqa: F403
from tests.worker.engines.contract.test_memory import *  # noqa: F403
from weft_worker.engines.base import Engine, EngineModel
from weft_worker.engines.exllamav2 import ExLlamaV2Engine

pytestmark = pytest.mark.torch


class _OnCpu(Subject):
    def create(self) -> Engine:
        return ExLlamaV2Engine(CpuRuntime(is_paged=self.backend == "paged"))


@pytest.fixture(params=["paged", "unpaged"])
def subject(request: pytest.FixtureRequest, tiny_model: EngineModel) -> Subject:
    """Both ways of the generator, with two slots."""
    model = replace(tiny_model, slot_count=2)
    return _OnCpu(request.param, model, replace(model, path="/nowhere"))


@pytest_asyncio.fixture
async def engine(subject: Subject) -> AsyncIterator[Engine]:
    loaded = subject.create()
    await loaded.load(subject.model, lambda fraction: None)
    yield loaded
    await loaded.close()


@pytest_asyncio.fixture
async def measured(subject: Subject) -> AsyncIterator[Measured]:
    runtime = CpuRuntime(is_paged=subject.backend == "paged")
    loaded = ExLlamaV2Engine(runtime)
    await loaded.load(replace(subject.model, context_size=ROOMY), lambda fraction: None)
    yield Measured(loaded, ExllamaGauge(runtime))
    await loaded.close()


@pytest.fixture
def unloaded(subject: Subject) -> Held:
    if subject.backend != "paged":
        pytest.skip("both ways hold the same")
    return measure("tests.torch.exllamav2.cpu:CpuExLlamaV2Engine", replace(subject.model, context_size=ROOMY))
