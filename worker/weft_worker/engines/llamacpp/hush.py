"""Keeps the library from writing down what callers sent: its words quote answers, schemas and grammars.

What they are about, it also answers with; and where it gives up by its own `ggml_abort`, that is written all the same.
Python has no way to say so: the symbols are of the library's own code, and of C's.
"""

import atexit
import ctypes
import logging
import os
import platform
from typing import Any

import xllamacpp

_NOTHING = 0
_SET_VERBOSITY = "_Z30common_log_set_verbosity_tholdi"
_logger = logging.getLogger(__name__)


def hush() -> None:
    """Have the library write nothing more, once its model is in use."""
    try:
        # Parts of the library write past its log.
        _point_stderr(_nowhere())
        library = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
        library[_SET_VERBOSITY](_NOTHING)
        library.ggml_set_abort_callback(_LAST_WORDS)
        # Afterwards there is no interpreter to run it.
        atexit.register(library.ggml_set_abort_callback, None)
    except (AttributeError, ValueError, OSError) as error:
        _logger.warning("engine_not_hushed", extra={"error": str(error)})


def speak() -> None:
    """Let it write again: why a load fails it tells nowhere else."""
    if _STDERR is not None:
        _point_stderr(_STDERR)


def _write(words: bytes) -> None:
    """Told just before the library aborts: a place in its code, and a condition."""
    os.write(2, words + b"\n")


_LAST_WORDS = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(_write)


def _place() -> Any:
    """Where C keeps its `stderr`; None where that cannot be changed.

    Python's log and its words on faults go to the descriptor itself. What else is written there is native code's: also
    why C++ or the interpreter itself give up, which quotes whatever they were at.
    """
    if platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.c_void_p.in_dll(ctypes.CDLL(None), "stderr")


def _file() -> int | None:
    place = _place()
    return None if place is None else place.value


_STDERR = _file()


def _point_stderr(file: int) -> None:
    place = _place()
    if place is None:
        raise OSError("only glibc's stderr can be led elsewhere")
    place.value = file


def _nowhere() -> int:
    """A file of C's own, which stays open."""
    fopen = ctypes.CDLL(None).fopen
    fopen.restype, fopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_char_p)
    file: int | None = fopen(b"/dev/null", b"we")
    if file is None:
        raise OSError("/dev/null cannot be opened")
    return file
