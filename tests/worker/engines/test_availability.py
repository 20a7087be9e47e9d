"""Which engines can run on a machine, and why others cannot."""

import subprocess
import sys

from weft_worker.engines.availability import EngineReport, engine_report

INSTALLED = ("llama-cpp", "exllamav2", "transformers", "mine")
LLAMA = ("llama", "llama-cpp", "llama.cpp", "llamacpp")
TRANSFORMERS = ("huggingface-embeddings", "rerankers", "sentencetransformers", "transformers")


def _report(*vendors: str, without: tuple[str, ...] = (), is_built: bool = True) -> EngineReport:
    return engine_report(
        vendors,
        names=lambda: INSTALLED,
        is_installed=lambda module: module not in without,
        is_built=lambda extension: is_built,
    )


def test_an_engine_with_all_that_it_needs_is_available_under_all_its_names() -> None:
    assert _report("cpu", "nvidia") == EngineReport(
        tuple(sorted((*LLAMA, *TRANSFORMERS, "exllamav2", "mine")))
    )


def test_an_engine_for_gpus_needs_one() -> None:
    assert _report("cpu").unavailable == {"exllamav2": "no CUDA device"}
    assert "exllamav2" not in _report("cpu").available


def test_nobody_is_told_to_install_what_is_of_no_use_without_a_gpu() -> None:
    for missing in ("torch", "exllamav2"):
        assert _report("cpu", without=(missing,)).unavailable["exllamav2"] == "no CUDA device"
    assert _report(without=("torch",)).unavailable["exllamav2"] == "no CUDA device"


def test_an_extension_that_is_not_built_is_named_with_what_builds_it() -> None:
    reason = "its CUDA extension is not built on this node, run: weft engine build exllamav2"
    assert _report("nvidia", is_built=False).unavailable == {"exllamav2": reason}
    assert _report("cpu", is_built=False).unavailable == {"exllamav2": "no CUDA device"}, "first things first"


def test_what_is_not_installed_is_named_with_what_brings_it() -> None:
    assert _report("nvidia", without=("torch",)).unavailable == {
        "exllamav2": "torch is not installed: pip install weft[cuda]",
        **dict.fromkeys(TRANSFORMERS, "torch is not installed: pip install weft[torch]"),
    }
    reason = "xllamacpp is not installed: pip install xllamacpp"
    assert _report("nvidia", without=("xllamacpp",)).unavailable == dict.fromkeys(LLAMA, reason)


def test_nothing_is_imported_to_find_out() -> None:
    probe = (
        "import sys; from weft_worker.engines.availability import engine_report; engine_report({'cpu'});"
        "sys.exit(bool({'xllamacpp', 'httpx', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", probe], check=False, timeout=30).returncode == 0
