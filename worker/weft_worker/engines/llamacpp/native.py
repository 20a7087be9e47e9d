"""Opens xllamacpp's server: its parameters, its own HTTP door kept shut, and its words when it fails."""

import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import xllamacpp

from weft_common.errors import LoadFailed
from weft_common.purposes import Purpose
from weft_worker.engines.base import EngineModel
from weft_worker.engines.llamacpp.hush import speak
from weft_worker.engines.llamacpp.side_files import NO_FILES, SideFiles

_ERRORS_ONLY = 1
_PREFILL_STEP_TOKENS = 512
_LAST_WORDS = b"exiting due to"
_LAST_WORDS_SECONDS = 0.5


def open_server(model: EngineModel, thread_count: int, door_key: str, files: SideFiles = NO_FILES) -> Any:
    """Load the model, with its own HTTP door shut to all that have not the key; raises LoadFailed with its reason.

    Blocks, and holds the interpreter's lock. A server that is dropped before it has begun to work never returns from
    that: use it once, whatever comes.
    """
    speak()
    with _native_stderr() as log:
        try:
            return xllamacpp.Server(_parameters(model, thread_count, door_key, files))
        except RuntimeError as error:
            cause = failure_cause(last_words(log)) or str(error)
            raise LoadFailed(f"llama.cpp could not load {model.path}: {cause}.") from error


def failure_cause(log: str) -> str | None:
    """Find the line of llama.cpp's log that says why a load failed."""
    lines = re.findall(r"^\S+ E (.*\S)", log, re.MULTILINE)
    telling = [
        line.partition("error loading model: ")[2] for line in lines if "error loading model: " in line
    ]
    # The first line is the deepest; "failed to load model from PATH" on top of it adds nothing.
    told = [
        *(line for line in telling if not line.startswith("llama_model_loader: failed")),
        *lines,
        *telling,
    ]
    return told[0].rstrip(".") if told else None


def _parameters(model: EngineModel, thread_count: int, door_key: str, files: SideFiles) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model.path
    parameters.model_alias = {model.name}
    parameters.lora_adapters = [
        xllamacpp.CommonAdapterLoraInfo(str(adapter.path), adapter.scale) for adapter in files.adapters
    ]
    if files.projector is not None:
        parameters.mmproj.path = str(files.projector)
        parameters.mmproj_use_gpu = False
    parameters.n_parallel = model.slot_count
    # Slots share the context evenly and never each other's part: a request's limit does not depend on its
    # neighbours, and attention looks at its own tokens only, as it would not with `kv_unified`.
    parameters.n_ctx = model.context_size * model.slot_count
    parameters.kv_unified = False
    # The context is as the catalog says; fitting it to free memory would load the model twice and change it.
    parameters.fit_params = False
    # The library's cache of old prompts would take up to 8 GiB that placement knows nothing of.
    parameters.cache_ram_mib = 0
    # Progress is told, and cancelling noticed, between these steps of a long prompt.
    parameters.n_batch = parameters.n_ubatch = _PREFILL_STEP_TOKENS
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = thread_count
    # The first use, which is ours, does as much without the interpreter's lock.
    parameters.warmup = False
    # Thoughts are told apart from text where the library knows them by the template. Calls are read out of it only
    # where tools are offered.
    parameters.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_AUTO
    # A conversation that ends with an answer is asked for another one: where the library continues the last answer,
    # it loses that one's text and begins with the name of the role.
    parameters.prefill_assistant = False
    parameters.verbosity = _ERRORS_ONLY
    _choose_freely(parameters.sampling)
    if model.purpose is not Purpose.CHAT:
        _compute_vectors(parameters, model)
    _shut_http_door(parameters, door_key)
    return parameters


def _choose_freely(sampling: Any) -> None:
    """Choose as OpenAI's API does where a request does not say how: among all tokens, by their probabilities.

    Its clients do not know of the library's own choice, and could not switch it off. What the model's makers wrote into
    its file (`general.sampling.*`) comes before this.
    """
    sampling.temp = sampling.top_p = 1.0
    sampling.top_k, sampling.min_p = 0, 0.0


def _compute_vectors(parameters: Any, model: EngineModel) -> None:
    """Vectors in place of tokens: of one input at a time, since in a batch with others their last digits differ."""
    parameters.embedding = True
    parameters.n_parallel = 1
    pooling = "rank" if model.purpose is Purpose.RERANKING else model.options["pooling"]
    parameters.pooling_type = getattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{pooling.upper()}")
    parameters.n_ctx = model.context_size
    # Where all tokens matter an input is one step, which takes memory by its length; else it may be several.
    if pooling != "last":
        parameters.n_batch = parameters.n_ubatch = model.context_size


def _shut_http_door(parameters: Any, key: str) -> None:
    """The library always listens on a local port: no other user of this machine may use it or look in."""
    parameters.api_keys = [key]
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.endpoint_props = False
    parameters.n_threads_http = 1


@contextmanager
def _native_stderr() -> Iterator[BinaryIO]:
    """Keep what native code writes to stderr in a file meanwhile, and pass it on afterwards."""
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield log
        finally:
            os.dup2(real, 2)
            log.seek(0)
            os.write(real, log.read())
            os.close(real)


def last_words(log: BinaryIO) -> str:
    """Read the log of a failed load; the library writes it from a thread of its own, a moment late."""
    for _ in range(int(_LAST_WORDS_SECONDS / 0.01)):
        if _LAST_WORDS in (text := _read_beside(log)):
            break
        time.sleep(0.01)
    return text.decode(errors="replace")


def _read_beside(log: BinaryIO) -> bytes:
    """All that is there by now; without moving the place in the file, at which the library writes meanwhile."""
    return os.pread(log.fileno(), os.fstat(log.fileno()).st_size, 0)
