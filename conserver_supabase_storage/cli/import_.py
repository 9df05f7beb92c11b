"""The command that brings vCons from elsewhere into the storage."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from .common import (
    AsJson,
    Config,
    Given,
    Name,
    fail,
    interruptible,
    opened,
    print_json,
    progress,
)
from .from_ import From, Table, chosen_sources, source_errors

if TYPE_CHECKING:
    from ..transfer.importing import Numbered, Taken
    from ..transfer.records import Progress, Report

# Refusals that are told on the terminal; all are in the report.
_TOLD = 10


def import_(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH|GLOB|URL|-]...",
            help="Files, folders, patterns, postgresql:// or s3:// URLs; - for JSON lines on "
            "standard input.",
        ),
    ] = None,
    from_: From = None,
    table: Table = "vcons",
    config: Config = None,
    storage: Name = None,
    given: Given = None,
    tenant: Annotated[
        str | None, typer.Option(help="Whose vCons these will be: the option tenant.")
    ] = None,
    keep_existing: Annotated[
        bool,
        typer.Option(
            "--keep-existing",
            help="Leave vCons that are there as they are, whatever they say. For storages that are "
            "in use meanwhile: without it, what is imported wins.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every vCon, and save none.")
    ] = False,
    state: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="A file that remembers where an interrupted import goes on. It goes when all is "
            "done.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="A file for what was refused: JSON lines with name, uuid and error.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Import vCons from files, JSON lines, or the conserver's own storages.

    What is there already and the same is skipped: the database is asked for digests, 200 in a
    request, and nothing is sent. So an import can be repeated at any time. After an interrupt a
    second run reads all again and saves the rest; with `--state FILE` it begins where the first
    one ended.

    Of a folder come all files below it that end with .vcon, .json, .jsonl or .ndjson, also with
    .gz; .jsonl and .ndjson have a vCon in each line. This reads what the conserver's `file` storage
    wrote, and a synced copy of a bucket of its `s3` storage. Every digit of a number is kept.

    Exits with 1 if a vCon was refused; the others are saved.

    ```sh
    conserver-supabase-storage import --report refused.jsonl calls/ 'more/**/*.vcon'
    conserver-supabase-storage import --config config.yml --from old_postgres --state import.state
    zcat calls.jsonl.gz | conserver-supabase-storage import -
    ```
    """
    from ..transfer import importing, records, sources  # noqa: PLC0415
    from ..transfer.questions import Questions  # noqa: PLC0415

    if dry_run and state is not None:
        raise typer.BadParameter("--dry-run saves nothing, so --state has nothing to remember")
    what = chosen_sources(paths, config, from_, table)
    # Saves that can't be made now are better read again than spooled.
    given = [*(given or ()), "spool_max_count=0", *([f"tenant={tenant}"] if tenant else ())]
    with source_errors():
        place = records.Progress(state, {"paths": paths, "from": from_, "table": table})
    done = _Done(place, dry_run, as_json)
    advice = "run it again: what is saved is skipped"
    if state is not None:
        advice = "run it again with the same --state to go on from here"
    with (
        interruptible(advice, done.tell),
        opened(config, storage, given) as opened_storage,
        Questions(opened_storage.options) as questions,
        source_errors(),
        records.Report(report, more=place.after is not None) as refusals,
    ):
        importer = importing.Importer(
            opened_storage, questions, keep_existing=keep_existing, dry_run=dry_run
        )
        with progress("imported", sources.count(what), quiet=as_json) as advance:
            if place.after is not None:
                advance(place.counts.total())
            for chunk in importing.chunks(sources.read(what, place.after)):
                with _unbroken():
                    taken = importer.take(chunk)
                    done.note(taken, chunk, refusals)
                if taken.away is not None:
                    break
                advance(len(chunk))
    done.end(advice)


class _Done:
    """What was done so far."""

    def __init__(self, place: "Progress", dry_run: bool, as_json: bool) -> None:
        self._place = place
        self._dry_run = dry_run
        self._as_json = as_json
        self._told = 0
        self._away: Exception | None = None

    def note(self, taken: "Taken", chunk: "list[Numbered]", refusals: "Report") -> None:
        """Note what came of a chunk, first where it is not lost."""
        self._away = taken.away
        if taken.away is not None:
            return
        for refused in taken.refused:
            refusals.write(vars(refused))
            self._told += 1
            if self._told <= _TOLD:
                typer.echo(f"refused {refused.name}: {refused.error}", err=True)
        self._place.counts.update(taken.counts)
        if not self._dry_run:
            self._place.note(*chunk[-1])

    def tell(self) -> None:
        """Print the counts."""
        from ..transfer.importing import OUTCOMES  # noqa: PLC0415

        counts = {name: self._place.counts[name] for name in OUTCOMES}
        if self._as_json:
            print_json(counts | {"dry_run": self._dry_run})
            return
        if self._told > _TOLD:
            typer.echo(f"and {self._told - _TOLD} more were refused (--report FILE)", err=True)
        would = "would be " if self._dry_run else ""
        typer.echo(", ".join(f"{count} {would}{name}" for name, count in counts.items()))

    def end(self, advice: str) -> None:
        """Print the counts, and exit with 1 if anything is not saved."""
        self.tell()
        if self._away is not None:
            fail(f"{self._away}; {advice}")
        self._place.done()
        if self._place.counts["refused"]:
            raise typer.Exit(1)


@contextmanager
def _unbroken() -> Iterator[None]:
    """Put an interrupt off to the end of the block; a second one ends it at once."""
    before = signal.getsignal(signal.SIGINT)
    interrupted = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, before)
        typer.echo("ends after this batch; press Ctrl-C again to end at once", err=True)

    if before is not signal.default_int_handler:  # ignored, or another program's
        yield
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted:
        raise KeyboardInterrupt
