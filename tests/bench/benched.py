"""The engines that are measured: what each one loads here, and how many tokens it is asked for."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.bench.taller import write_taller
from tests.upstreams.llama_server import llama_server
from tests.worker.engines.answers import WEFT_TINY
from weft_worker.engines.base import EngineModel, Generation, Message, Role, Sampling

SLOTS, CONTEXT = 8, 512
# At once, how many stories, and how many runs of each; more than slots wait their turn. The shorter a run, the more it
# depends on what else the machine does meanwhile.
Loads = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Source:
    """What an engine loads: a path or a name, and the options of its model file."""

    path: str
    options: Mapping[str, str] = field(default_factory=dict)

    def model(self) -> EngineModel:
        """As the engine is told of it."""
        return EngineModel(
            "weft-tiny", self.path, CONTEXT, thread_count=1, slot_count=SLOTS, options=self.options
        )

    def fields(self) -> dict[str, Any]:
        """As a model file has it."""
        fields = {"parameters": {"model": self.path}, "parallel": SLOTS, "max_queue": 64, "threads": 1}
        return fields | ({"options": dict(self.options)} if self.options else {"context_size": CONTEXT})


@dataclass(frozen=True, slots=True)
class Benched:
    """An engine by its name in model files; `needs` are modules that it cannot do without.

    `layers` is how many times the layers of weft-tiny follow each other in what it loads.
    """

    name: str
    library: str
    token_count: int
    loads: Loads
    needs: tuple[str, ...] = ()
    layers: int = 1

    @property
    def label(self) -> str:
        """What its rows are called."""
        return self.name if self.layers == 1 else f"{self.name} (layers x {self.layers})"

    def is_there(self) -> bool:
        """Whether this environment has what it needs."""
        return all(find_spec(name) is not None for name in self.needs)

    @contextmanager
    def source(self, folder: Path) -> Iterator[Source]:
        """Make what it loads, for the block."""
        match self.name:
            case "openai":
                key = folder / "key"
                key.write_text(secrets.token_hex(16))
                with llama_server(key.read_text(), CONTEXT, SLOTS) as server:
                    yield Source("weft-tiny", {"base_url": server.base_url, "key_file": str(key)})
            case "transformers":
                from tests.torch.tiny_folder import write_tiny_folder

                yield Source(str(write_tiny_folder(folder / "tiny")))
            case _ if self.layers > 1:
                yield Source(str(write_taller(WEFT_TINY, folder / "taller.gguf", self.layers)))
            case _:
                yield Source(str(WEFT_TINY))


BENCHED = {
    each.label: each
    for each in (
        Benched("llama-cpp", "xllamacpp", 300, ((1, 8, 15), (SLOTS, 24, 10), (32, 48, 10))),
        # A token takes 4 ms, as with the smallest models that people use on processors.
        Benched("llama-cpp", "xllamacpp", 100, ((1, 4, 3), (SLOTS, 16, 3), (32, 32, 3)), layers=20),
        Benched("openai", "llama.cpp's own server", 300, ((1, 8, 5), (SLOTS, 24, 5), (32, 48, 5))),
        Benched(
            "transformers",
            "transformers",
            64,
            ((1, 3, 5), (SLOTS, 16, 5), (32, 32, 5)),
            ("torch", "transformers"),
        ),
    )
}


def story(seed: int, token_count: int) -> Generation:
    """Ask for a story of exactly so many tokens."""
    sampling = Sampling(temperature=0.8, seed=seed, max_tokens=token_count, ignore_eos=True)
    return Generation((Message(Role.USER, "Tell me a story."),), sampling)
