"""Model files, `models/NAME.yaml`, as LocalAI's users know them.

The fields that Weft reads are checked and have defaults here; others are left alone, so that files written for
LocalAI load unchanged. Of LocalAI's `options` only `parallel` (or `n_parallel`) means something here; the engine
`llama-cpp` ignores those that it does not know. `revision` identifies the content that matters to a backend.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import orjson
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from weft_common.errors import FieldViolation, InvalidRequest
from weft_common.memory_budget import parse_size
from weft_common.purposes import Purpose
from weft_common.remote_backends import check_no_secrets, is_remote
from weft_common.side_files import side_file_options

_DEFAULT_CONTEXT = 4096
_DEFAULT_QUEUE = 64
_PARALLEL_OPTIONS = ("parallel", "n_parallel")
# What a change of these says is between placement and the catalog: no model is loaded anew for it.
_NOT_FOR_BACKENDS = {"pinned", "concurrency_groups", "disabled"}
# Fields of later versions: a file that does not have them keeps the revision that it had.
_LATER = {"cpus", "memory_limit", "device_limit", "embeddings", "reranking"}

Group = Annotated[str, Field(min_length=1, max_length=255)]


class Parameters(BaseModel):
    """The `parameters` section."""

    model_config = ConfigDict(extra="ignore")

    model: Annotated[
        str, Field(min_length=1, description="Path of the weights; relative to the models folder.")
    ]


class ModelFile(BaseModel):
    """One model file; context in tokens a slot, `parallel` in requests at once.

    A model that is `pinned` is never evicted, and one that is `disabled` is not in the catalog. Models with one of
    their `concurrency_groups` in common are kept on different nodes where that is possible. A replica computes with
    `cpus` cores at most, holds `memory_limit` bytes of the machine's memory at most, and is split over `device_limit`
    devices of a node at most; 0 is no limit. In place of chatting it makes vectors of texts (`embeddings`) or scores
    documents (`reranking`).
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/#-]{0,254}$")]
    backend: Annotated[str, Field(min_length=1)] = "llama-cpp"
    parameters: Parameters
    context_size: Annotated[int, Field(ge=64, le=10_000_000)] = _DEFAULT_CONTEXT
    threads: Annotated[int, Field(ge=0, le=4096)] = 0
    parallel: Annotated[int, Field(ge=1, le=4096)] = 1
    max_queue: Annotated[int, Field(ge=0, le=100_000)] = _DEFAULT_QUEUE
    options: dict[str, str] = {}
    pinned: bool = False
    concurrency_groups: Annotated[tuple[Group, ...], Field(max_length=64)] = ()
    disabled: bool = False
    cpus: Annotated[float, Field(ge=0, le=4096, allow_inf_nan=False)] = 0.0
    memory_limit: Annotated[int, Field(ge=0)] = 0
    device_limit: Annotated[int, Field(ge=0, le=64)] = 0
    embeddings: bool = False
    reranking: bool = False

    @field_validator("memory_limit", mode="before")
    @classmethod
    def _memory_limit(cls, value: object) -> object:
        return value if value in (0, "0", None) else parse_size(str(value))

    @model_validator(mode="before")
    @classmethod
    def _parallel(cls, content: object) -> object:
        """LocalAI has `parallel` among its options; the field itself goes before it."""
        if not isinstance(content, Mapping) or content.get("parallel") is not None:
            return content
        options = _options_of(content.get("options"))
        if not isinstance(options, Mapping):
            return content
        told = [options[key] for key in _PARALLEL_OPTIONS if key in options]
        return {**content, "parallel": told[0]} if told else content

    @model_validator(mode="before")
    @classmethod
    def _side_files(cls, content: object) -> object:
        """Adapters and projectors are among the options; one that stands there already goes before the field."""
        if not isinstance(content, Mapping) or not (found := side_file_options(content)):
            return content
        options = _options_of(content.get("options") or {})
        return {**content, "options": {**found, **options}} if isinstance(options, Mapping) else content

    @field_validator("options", mode="before")
    @classmethod
    def _options(cls, value: object) -> object:
        return _options_of(value)

    @model_validator(mode="after")
    def _no_secrets(self) -> "ModelFile":
        if self.remote:
            check_no_secrets(self.options)
        return self

    @property
    def remote(self) -> bool:
        """Whether a server elsewhere runs it: `parameters.model` is that one's name for it, and no path."""
        return is_remote(self.backend)

    @property
    def purpose(self) -> Purpose:
        """What the model is for; with both, its vectors are of no use to anybody but the head that scores."""
        if self.reranking:
            return Purpose.RERANKING
        return Purpose.EMBEDDING if self.embeddings else Purpose.CHAT

    def revision(self) -> str:
        """Twelve hexadecimal digits that change with any field that a backend reads."""
        unset = {name for name in _LATER if not getattr(self, name)}
        raw = orjson.dumps(self.model_dump(exclude=_NOT_FOR_BACKENDS | unset), option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(raw).hexdigest()[:12]

    def weights(self, folder: Path) -> Path:
        """Where the weights are; engines without files keep the bare text."""
        path = Path(self.parameters.model)
        return path if path.is_absolute() or not (folder / path).exists() else folder / path


def _options_of(value: object) -> object:
    """LocalAI writes options as a list of `key:value`; a mapping is plainer; both are taken."""
    if isinstance(value, list):
        return {key: text for item in value for key, text in _listed(item)}
    if isinstance(value, Mapping):
        return {str(key): _text(each) for key, each in value.items()}
    return value


def _listed(item: object) -> list[tuple[str, str]]:
    """Of `- key: value`, YAML makes a mapping, and a text of `- key:value`."""
    if isinstance(item, Mapping):
        return [(str(key), _text(each)) for key, each in item.items()]
    return [_option(str(item))]


def _text(value: object) -> str:
    """As people write it in YAML: Python's own words for these are nobody's."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list():
            return ",".join(map(_text, value))
    return str(value)


def _option(text: str) -> tuple[str, str]:
    """`key:value`; a bare key is a switch that is on."""
    key, colon, value = text.partition(":")
    return key, value if colon else "true"


def model_files_in(folder: Path) -> list[Path]:
    """The model files of a folder in the order of their names; none where there is no folder."""
    found = (path for path in folder.glob("*.y*ml") if path.suffix in (".yaml", ".yml"))
    # Editors keep locks and swap files there.
    return sorted(path for path in found if not path.name.startswith("."))


def read_model_file(path: Path) -> ModelFile:
    """Read one file; raises InvalidRequest that names the file and the field."""
    try:
        content = yaml.safe_load(path.read_text())
        return ModelFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        words = first["msg"].removeprefix("Value error, ")
        # What is wrong with the file as a whole is in no field.
        where = f"{path.name}: {field}" if field else path.name
        raise InvalidRequest(f"{where}: {words}", violations=[FieldViolation(field, words)]) from error
    except (OSError, ValueError, LookupError, AttributeError, RecursionError, yaml.YAMLError) as error:
        # YAML's library lets out what Python says of a day that is none, and of lists in lists without end.
        raise InvalidRequest(f"{path.name} cannot be read: {error}") from error
