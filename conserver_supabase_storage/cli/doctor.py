"""The command that says what is wrong, before anything else is tried."""

import json
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from .common import AsJson, Config, Given, Name, options_of

if TYPE_CHECKING:
    from ..doctor import Finding

# By state; in this order they are counted at the end.
_COLOURS = {
    "ok": typer.colors.GREEN,
    "warning": typer.colors.YELLOW,
    "broken": typer.colors.RED,
    "skipped": typer.colors.BRIGHT_BLACK,
}
_WIDTH = max(map(len, _COLOURS))


def doctor(
    config: Config = None,
    storage: Name = None,
    given: Given = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 for warnings, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look at all that the storage needs, and say how to mend what is wrong.

    It looks at options and key, DNS and TLS, PostgREST, migrations, rights,
    row-level security, timeouts, extensions, clocks, each Redis with its keys,
    and the installed versions. It changes nothing, and takes some seconds at
    most. Begin here when something does not work:

    ```sh
    conserver-supabase-storage doctor --config config.yml
    ```

    Each line is `ok`, `warning` (it works, and will hurt some day), `broken`,
    or `skipped` (a check before it failed). Exits with 0 if nothing is broken,
    with 1 if something is.
    """
    from ..doctor import State, examine  # noqa: PLC0415  a probe does not wait for it

    findings: list[Finding] = []
    for finding in examine(lambda: options_of(config, storage, given)):
        findings.append(finding)
        if not as_json:
            _show(finding)
    counts = Counter(finding.state for finding in findings)
    if as_json:
        typer.echo(json.dumps([finding._asdict() for finding in findings]))
    else:
        numbers = ((counts[State(state)], state) for state in _COLOURS)
        typer.echo("\n" + ", ".join(f"{number} {state}" for number, state in numbers if number))
    if counts[State.BROKEN] or (strict and counts[State.WARNING]):
        raise typer.Exit(1)


def _show(finding: "Finding") -> None:
    state = typer.style(f"{finding.state:<{_WIDTH}}", fg=_COLOURS[finding.state])
    typer.echo(f"{state}  {finding.check}: {finding.text}")
    if finding.fix:
        typer.echo(f"{'':<{_WIDTH}}  {finding.fix}")
