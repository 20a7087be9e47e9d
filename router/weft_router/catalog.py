"""The catalog: model files of a folder, kept level with the database."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

from weft_common.clock import Clock
from weft_common.errors import InvalidRequest, PartUnavailable
from weft_common.model_file import ModelFile, read_model_file
from weft_router.fleet.entities import Model
from weft_router.fleet.fleet import Fleet
from weft_router.store.protocol import Store
from weft_router.sync import FleetSync

_LOOK_SECONDS = 2.0

_log = logging.getLogger(__name__)


class Catalog:
    """Follows a folder of model files; state: `_seen`, the last look at the folder, and `_complaints`."""

    def __init__(self, folder: Path, *, store: Store, sync: FleetSync, fleet: Fleet, clock: Clock) -> None:
        self._folder = folder
        self._store = store
        self._sync = sync
        self._fleet = fleet
        self._clock = clock
        self._seen: object = None
        self._complaints: dict[str, str] = {}

    async def follow(self) -> None:
        """Look at the folder for ever; a file that cannot be used keeps its model as it was."""
        while True:
            try:
                await self.look()
            except PartUnavailable:
                self._seen = None
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Write what is new or changed and retire what is gone."""
        await self._sync.known.wait()
        stamps = self._stamps()
        if stamps == self._seen:
            return
        files, broken = self._read(list(stamps))
        known = self._fleet.models
        changed = [m for m in self._models(files) if m != known.get(m.name)]
        gone = [] if broken else [name for name in known if name not in files]
        if changed or gone:
            await self._store.put_models(changed, gone)
            await self._sync.after_write()
            _log.info("catalog_changed", extra={"models": [m.name for m in changed], "gone": gone})
        self._seen = stamps

    def _stamps(self) -> dict[Path, tuple[int, int]]:
        """Files as they are; one that cannot be looked at (a dangling link, say) has no stamp and is read as broken."""
        found: dict[Path, tuple[int, int]] = {}
        for path in sorted(p for p in self._folder.glob("*.y*ml") if p.suffix in (".yaml", ".yml")):
            if path.name.startswith("."):
                continue  # editors keep locks and swap files there
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

    def _models(self, files: dict[str, ModelFile]) -> list[Model]:
        return [self._model(file) for file in files.values()]

    def _model(self, file: ModelFile) -> Model:
        weights = file.weights(self._folder)
        known = self._fleet.models.get(file.name)
        model = Model(
            name=file.name,
            backend=file.backend,
            revision=file.revision(),
            path=str(weights),
            context_size=file.context_size,
            thread_count=file.threads,
            slot_count=file.parallel,
            max_queue_count=file.max_queue,
            options=file.options,
            size_bytes=_size(weights),
        )
        return replace(model, created_seconds=known.created_seconds if known else int(self._clock.wall()))


def _size(weights: Path) -> int:
    """Bytes of the weights; 0 where this machine does not have them."""
    try:
        return weights.stat().st_size if weights.is_file() else 0
    except OSError:
        return 0
