"""Backends whose models a server elsewhere runs, and what their model files must not hold. Pure.

Routers place such a model by no memory and bring no files for it; its name is the upstream's own, whatever it
looks like.
"""

import re
from collections.abc import Mapping

# The first one is the engine's own name, the others are what people call the servers that it speaks to.
REMOTE_BACKENDS = ("openai", "vllm", "sglang", "tgi", "ollama", "litellm")
# Options that mean the same for every engine, and nothing to this one.
OURS = frozenset({"parallel", "n_parallel"})
# What pydantic, which reads the options where models run, takes for it.
_YES = ("true", "yes", "on", "1", "t", "y")

_NAMES_OF_KEYS = frozenset({"key_file", "key_env", "key_header"})
_SECRET = re.compile(r"key|token$|secret|passw|auth|bearer", re.IGNORECASE)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_CREDENTIALS = re.compile(r"^[a-z]+://[^/?#]*@", re.IGNORECASE)


def is_remote(backend: str) -> bool:
    """Whether a model of this backend computes somewhere else."""
    return backend in REMOTE_BACKENDS


def upstream_sees(backend: str, options: Mapping[str, str]) -> bool:
    """Whether a model file says that a server elsewhere takes images for this model."""
    return is_remote(backend) and options.get("vision", "").strip().lower() in _YES


def check_no_secrets(options: Mapping[str, str]) -> None:
    """Raise ValueError, without any value, where options hold a key instead of saying where a worker finds it.

    Model files are read by many and kept in the database.
    """
    for name in options:
        if name not in _NAMES_OF_KEYS and _SECRET.search(name):
            raise ValueError(
                f"'{name}' looks like a secret, which no model file may hold: key_file names a file on the worker, and"
                " key_env an environment variable of it"
            )
    if _CREDENTIALS.match(options.get("base_url", "")):
        raise ValueError("base_url: credentials in a URL end up in logs; use key_file or key_env")
    if options.get("key_env") and not _VARIABLE.fullmatch(options["key_env"]):
        raise ValueError("key_env: the name of an environment variable is needed, and never the key itself")
    if options.get("key_file") and not options["key_file"].startswith("/"):
        raise ValueError("key_file: an absolute path on the worker is needed, and never the key itself")
