"""The command that prints vCons."""

import re
import sys
from typing import Annotated, Any

import typer

from .common import AsJson, Config, Given, Name, canonical, opened

# Of the characters that move a terminal's cursor, JSON leaves these as they are.
_CONTROLS = re.compile("[\x7f-\x9f]")


def get(
    uuids: Annotated[list[str], typer.Argument(metavar="UUID...")],
    config: Config = None,
    storage: Name = None,
    given: Given = None,
    as_json: AsJson = False,
) -> None:
    """Print vCons as JSON, with every digit as it was saved. Exits with 1 if one is not there.

    One vCon is indented on a terminal, and one line elsewhere; of several each is a line. With
    --json they are one JSON list.

    ```sh
    conserver-supabase-storage get 01928cb4-1c5f-8c4a-b5f0-0a1b2c3d4e5f
    ```
    """
    from decimal import Decimal  # noqa: PLC0415

    from ..document import dumps  # noqa: PLC0415

    wanted = canonical(uuids)
    found = []
    missing = False
    with opened(config, storage, given) as opened_storage:
        for uuid in wanted:
            vcon = opened_storage.get(uuid, parse_float=Decimal)
            if vcon is None:
                missing = True
                typer.echo(f"error: there is no vCon {uuid}", err=True)
            elif as_json:
                found.append(vcon)
            elif len(wanted) == 1 and sys.stdout.isatty():
                typer.echo(_indented(vcon))
            else:
                typer.echo(dumps(vcon))
    if as_json:
        typer.echo(dumps(found))
    if missing:
        raise typer.Exit(1)


def _indented(vcon: dict[str, Any]) -> str:
    import simplejson  # noqa: PLC0415  the standard library can't write a Decimal's digits

    text = simplejson.dumps(vcon, ensure_ascii=False, use_decimal=True, indent=2)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
