"""Which of the installed engines can run on this machine, and why others cannot; none is imported to find out.

Importing belongs to backend processes: it takes seconds and hundreds of megabytes, and runs native code.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

from weft_worker.engines.exllama.extension import (
    EXLLAMAV2,
    EXLLAMAV3,
    Extension,
    build_hint,
    extensions_folder,
    is_ready,
)
from weft_worker.engines.registry import installed_names, with_aliases

# ROCm's torch has CUDA's names.
_CUDA_VENDORS = frozenset({"nvidia", "amd"})


@dataclass(frozen=True, slots=True)
class Needs:
    """What an engine cannot do without: top-level modules, which `weft[extra]` brings, a GPU, a compiled extension."""

    modules: tuple[str, ...]
    extra: str = ""
    cuda: bool = False
    extension: Extension | None = None
    """What `weft engine build` has to compile on this machine."""


# Engines of others, which are not named here, see to their needs themselves when they load.
NEEDS: Mapping[str, Needs] = {
    "llama-cpp": Needs(("xllamacpp",)),
    "openai": Needs(("httpx",)),
    "transformers": Needs(("torch", "transformers"), "torch"),
    "exllamav2": Needs(("torch", "exllamav2"), "cuda", cuda=True, extension=EXLLAMAV2),
    "exllamav3": Needs(("torch", "exllamav3"), "exllamav3", cuda=True, extension=EXLLAMAV3),
}


@dataclass(frozen=True, slots=True)
class EngineReport:
    """Under every name that model files may use: engines that can run here, and why others cannot."""

    available: tuple[str, ...]
    unavailable: Mapping[str, str] = field(default_factory=dict)


def engine_report(
    vendors: Collection[str],
    *,
    names: Callable[[], Iterable[str]] = installed_names,
    is_installed: Callable[[str], bool] = lambda module: find_spec(module) is not None,
    is_built: Callable[[Extension], bool] = lambda extension: is_ready(extension, extensions_folder()),
) -> EngineReport:
    """Judge the installed engines by what is here: modules, makers of the machine's devices, compiled extensions."""
    why = {name: _why_not(NEEDS.get(name), vendors, is_installed, is_built) for name in names()}
    reasons = {alias: reason for name, reason in why.items() if reason for alias in with_aliases([name])}
    return EngineReport(with_aliases(name for name, reason in why.items() if not reason), reasons)


def _why_not(
    needs: Needs | None,
    vendors: Collection[str],
    is_installed: Callable[[str], bool],
    is_built: Callable[[Extension], bool],
) -> str:
    if needs is None:
        return ""
    # First: no package that could be named would help a machine without one, and these are gigabytes.
    if needs.cuda and _CUDA_VENDORS.isdisjoint(vendors):
        return "no CUDA device"
    for module in needs.modules:
        if not is_installed(module):
            package = f"weft[{needs.extra}]" if needs.extra else module
            return f"{module} is not installed: pip install {package}"
    return build_hint(needs.extension) if needs.extension and not is_built(needs.extension) else ""
