"""Write docs/settings.md from the code's own settings; `--check` fails where the committed page differs."""

import argparse
import sys
from datetime import timedelta
from pathlib import Path

import typer
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from weft_common.cli.app import app
from weft_gateway.settings import GatewaySettings
from weft_router.settings import RouterSettings
from weft_worker.settings import WorkerSettings

PAGE = Path(__file__).resolve().parent.parent / "docs/settings.md"
HEAD = """# Settings

Every setting is an environment variable. `weft up` passes its environment on to the parts that it starts, so a
variable set there reaches all of them; what it decides itself (addresses, secrets, folders) it sets for them.
Durations are written `500ms`, `90s`, `1m30s` or as plain seconds. A value that cannot be used ends the part with
exit code 78 before it binds a port. This page is generated from the code by `make gen`.
"""
# What the machine decides on which the page is made must not be in it.
DEFAULTS = {"WEFT_HOME": "`~/.local/share/weft`; as root `/var/lib/weft`"}
PARTS: dict[str, type[BaseSettings]] = {
    "Router (`python -m weft_router`)": RouterSettings,
    "Gateway (`python -m weft_gateway`)": GatewaySettings,
    "Worker (`weft worker`, `python -m weft_worker`)": WorkerSettings,
}


def default_of(field: FieldInfo) -> str:
    """What holds when the variable is not set."""
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return "" if field.default_factory is not dict else "none"
    return default_text(field.default)


def default_text(value: object) -> str:
    """A default as people read it."""
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    if value is None or value == "":
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def table(settings: type[BaseSettings]) -> str:
    """One row a setting."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in settings.model_fields.items():
        assert field.description, f"{settings.__name__}.{name} needs a description"
        rows.append(f"| `WEFT_{name.upper()}` | {default_of(field)} | {field.description} |")
    return "\n".join(rows)


def command_table(name: str) -> str:
    """One row for each option of a command that is a variable too."""
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    rows = ["| variable | flag | default | meaning |", "|---|---|---|---|"]
    for option in command.params:
        if option.envvar:
            default = DEFAULTS.get(option.envvar) or default_text(option.default)
            rows.append(f"| `{option.envvar}` | `{option.opts[0]}` | {default} | {option.help} |")
    return "\n".join(rows)


def page() -> str:
    """The whole page."""
    sections = [f"## This machine (`weft up`)\n\n{command_table('up')}\n"]
    sections += [f"## {title}\n\n{table(settings)}\n" for title, settings in PARTS.items()]
    return "\n".join([HEAD, *sections])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        if PAGE.read_text() == page():
            return 0
        print("drift: docs/settings.md (run `make gen`)")
        return 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
