"""The catalog: model files of a folder, kept level with the database."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from weft_common.clock import Clock
from weft_common.errors import InvalidRequest, PartUnavailable
from weft_common.model_file import ModelFile, model_files_in, read_model_file
from weft_common.purposes import Purpose
from weft_common.side_files import with_places
from weft_router.fleet.about import About
from weft_router.fleet.entities import Model, ModelPurpose
from weft_router.fleet.fleet import Fleet
from weft_router.store.protocol import Store
from weft_router.sync import FleetSync
from weft_router.weights import Shelf, Weights

_LOOK_SECONDS = 2.0
_PURPOSES: Mapping[Purpose, ModelPurpose] = {
    Purpose.CHAT: ModelPurpose.UNSPECIFIED,
    Purpose.EMBEDDING: ModelPurpose.EMBEDDING,
    Purpose.RERANKING: ModelPurpose.RERANKING,
}

_log = logging.getLogger(__name__)


class Catalog:
    """Follows a folder of model files.

    State: `_seen` and `_files`, the last look at the folder; `_weights`, the last look at what they name; complaints.
    """

    def __init__(self, folder: Path, *, store: Store, sync: FleetSync, fleet: Fleet, clock: Clock) -> None:
        self._folder = folder.absolute()
        self._store = store
        self._sync = sync
        self._fleet = fleet
        self._clock = clock
        self._seen: object = None
        self._files: dict[str, ModelFile] = {}
        self._broken = False
        self._shelf = Shelf()
        self._weights: Mapping[Path, Weights] = {}
        self._complaints: dict[str, str] = {}
        # Set once the catalog in memory is what the folder says: before, a model that is missing is only unknown.
        self.looked = asyncio.Event()

    async def follow(self) -> None:
        """Look at the folder for ever; a file that cannot be used keeps its model as it was."""
        while True:
            try:
                await self.look()
            except PartUnavailable:
                self._seen = None
            except OSError as error:
                # Out of file descriptors, or a disk in trouble: the models stay as they were.
                self._seen = None
                _log.warning("models_not_read", extra={"folder": str(self._folder), "error": str(error)})
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Write what is new or changed, also in the weights, and retire what is gone."""
        await self._sync.known.wait()
        stamps = self._stamps()
        if stamps != self._seen:
            self._files, self._broken = self._read(list(stamps))
        paths = [file.weights(self._folder) for file in self._files.values() if not file.remote]
        weights = await asyncio.to_thread(self._shelf.look, paths)
        if stamps == self._seen and weights == self._weights:
            return
        self._weights = weights
        known = self._fleet.models
        changed = [m for m in map(self._model, self._files.values()) if m != known.get(m.name)]
        gone = self._gone(known) if stamps else self._kept(known)
        if changed or gone:
            await self._store.put_models(changed, gone)
            await self._sync.after_write()
            _log.info("catalog_changed", extra={"models": [m.name for m in changed], "gone": gone})
        self._seen = stamps
        self.looked.set()

    def _gone(self, known: Iterable[str]) -> list[str]:
        """Models without a file; none while there is one that could not be read."""
        return [] if self._broken else [name for name in known if name not in self._files]

    def _kept(self, known: Iterable[str]) -> list[str]:
        """A folder that is not there, or empty, takes no model away: it may be a disk that is not mounted."""
        if kept := list(known):
            _log.warning("models_folder_empty", extra={"folder": str(self._folder), "kept": kept})
        return []

    def _stamps(self) -> dict[Path, tuple[int, int]]:
        """Files as they are; one that cannot be looked at (a dangling link, say) has no stamp and is read as broken."""
        found: dict[Path, tuple[int, int]] = {}
        for path in model_files_in(self._folder):
            try:
                stat = path.stat()
                found[path] = (stat.st_mtime_ns, stat.st_size)
            except OSError:
                found[path] = (0, 0)
        return found

    def _read(self, paths: list[Path]) -> tuple[dict[str, ModelFile], bool]:
        files: dict[str, ModelFile] = {}
        complaints: dict[str, str] = {}
        for path in paths:
            try:
                file = read_model_file(path)
                if file.disabled:
                    continue
                if file.name in files:
                    complaints[path.name] = f"{path.name}: another file has the name '{file.name}' already"
                    continue
                files[file.name] = file
            except InvalidRequest as error:
                complaints[path.name] = error.message
        for name, complaint in complaints.items():
            if self._complaints.get(name) != complaint:
                _log.warning("model_file_rejected", extra={"file": name, "error": complaint})
        self._complaints = complaints
        return files, bool(complaints)

    def _model(self, file: ModelFile) -> Model:
        path = file.weights(self._folder)
        weights = Weights() if file.remote else self._weights.get(path, Weights())
        known = self._fleet.models.get(file.name)
        # Vectors and scores are computed one at a time, whoever else waits in a slot.
        caches = file.parallel if file.purpose is Purpose.CHAT else 1
        kv_bytes = weights.kv_bytes(file.context_size, caches)
        model = Model(
            name=file.name,
            backend=file.backend,
            revision=file.revision(),
            path=file.parameters.model if file.remote else str(path),
            context_size=file.context_size,
            thread_count=file.threads,
            slot_count=file.parallel,
            max_queue_count=file.max_queue,
            options=file.options if file.remote else with_places(file.options, self._folder),
            size_bytes=weights.size_bytes,
            kv_bytes=kv_bytes,
            half_bytes=weights.half_bytes + kv_bytes if weights.half_bytes else 0,
            pinned=file.pinned,
            cpu_limit=file.cpus,
            memory_limit_bytes=file.memory_limit,
            device_limit=file.device_limit,
            concurrency_groups=file.concurrency_groups,
            purpose=_PURPOSES[file.purpose],
            about=About() if file.remote else self._shelf.about(path),
        )
        return replace(model, created_seconds=known.created_seconds if known else int(self._clock.wall()))
