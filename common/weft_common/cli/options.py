"""Flags that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

from weft_common.home import default_root

Text = str | None

HomeOption = Annotated[
    Path,
    typer.Option("--home", envvar="WEFT_HOME", help="Folder with all state.", default_factory=default_root),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document for scripts.")]
UrlOption = Annotated[Text, typer.Option(envvar="WEFT_URL", help="Another Weft, http://HOST:8080.")]
KeyOption = Annotated[Text, typer.Option(envvar="WEFT_API_KEY", help="The API key for it.")]
