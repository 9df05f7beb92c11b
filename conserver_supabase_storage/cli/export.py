"""The command that writes vCons to files."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import UnavailableError
from .common import AsJson, Config, Given, Name, fail, interruptible, opened, print_json, progress
from .criteria import query_of, with_criteria
from .from_ import source_errors

if TYPE_CHECKING:
    from ..transfer.exporting import Layout, Target

_LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")


@with_criteria
def export(
    criteria: dict[str, Any],
    to: Annotated[
        str,
        typer.Option(
            metavar="DIR|FILE.jsonl|-",
            help="A folder, for a file per vCon; a file that ends with .jsonl or .ndjson (or these "
            "with .gz), for a line per vCon; - for lines on standard output.",
        ),
    ],
    layout: Annotated[
        Literal["by-date", "flat", "file", "s3"],
        typer.Option(
            help="Where in the folder: YYYY/MM/DD/UUID.vcon, UUID.vcon, or as the conserver's "
            "storages file (YYYY/MM/DD/UUID.json) and s3 (with lookup/) keep them.",
        ),
    ] = "by-date",
    gzip: Annotated[
        bool, typer.Option("--gzip", help="Compress each file of a folder; its name ends with .gz.")
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Leave files of a folder that are there, whatever they say: to go on after an "
            "interrupt.",
        ),
    ] = False,
    config: Config = None,
    storage: Name = None,
    given: Given = None,
    as_json: AsJson = False,
) -> None:
    """Export vCons to files or JSON lines: all, or those that match the criteria.

    What is written is what was saved, with every digit. A file is there whole or not at all.
    vCons that are saved or deleted meanwhile are written as they are when their turn comes.

    ```sh
    conserver-supabase-storage export --to backup/
    conserver-supabase-storage export --to march.jsonl.gz --start-date 2026-03-01
    conserver-supabase-storage export --to - --party ada@example.com | head -n 1
    ```
    """
    from ..transfer.exporting import Exporter  # noqa: PLC0415
    from ..transfer.questions import Questions  # noqa: PLC0415

    is_folder = to != "-" and not to.endswith(_LINES)
    if not is_folder and (gzip or skip_existing or layout != "by-date"):
        raise typer.BadParameter("--layout, --gzip and --skip-existing are for folders")
    if to == "-" and as_json:
        raise typer.BadParameter("--json and --to - both want standard output")
    query_of(criteria)
    counts: Counter[str] = Counter()

    def tell() -> None:
        told = {name: counts[name] for name in ("written", "skipped", "gone")}
        if as_json:
            print_json(told)
        else:
            text = ", ".join(f"{count} {name}" for name, count in told.items())
            typer.echo(text, err=to == "-")

    advice = "run it again; " + ("--skip-existing goes on" if is_folder else "it begins anew")
    with (
        interruptible(advice, tell),
        opened(config, storage, given) as opened_storage,
        Questions(opened_storage.options) as questions,
        source_errors(),
    ):
        exporter = Exporter(opened_storage, questions, criteria)
        try:
            with (
                progress("exported", exporter.count(), quiet=as_json) as advance,
                _target(to, layout, gzip) as target,
            ):
                for done in exporter.run(target, skip_existing=skip_existing):
                    counts.update(done)
                    advance(done.total())
        except UnavailableError as error:
            tell()
            fail(f"{error}; {advice}")
    tell()
    if not exporter.complete:
        fail("search does not know all vCons yet: run `backfill`, and then this again")


@contextmanager
def _target(to: str, layout: "Layout", compressed: bool) -> "Iterator[Target]":
    from ..transfer.exporting import Folder, Lines, lines_to  # noqa: PLC0415

    if to == "-":
        yield Lines(sys.stdout.buffer)
        sys.stdout.buffer.flush()
    elif to.endswith(_LINES):
        with lines_to(Path(to)) as lines:
            yield lines
    else:
        yield Folder(Path(to), layout, compressed=compressed)
