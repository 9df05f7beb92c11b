"""The command that compares what is stored with what it should be."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UnavailableError
from .common import AsJson, Config, Given, Name, fail, interruptible, opened, print_json, progress
from .from_ import From, Table, chosen_sources, source_errors

if TYPE_CHECKING:
    from ..options import Options
    from ..transfer.found import Source
    from ..transfer.questions import Questions
    from ..transfer.records import Report
    from ..transfer.verifying import Page

# Findings that are told on the terminal and in JSON; all are in the report.
_TOLD = 100


def verify(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATH|GLOB|URL|-]...", help="What to compare with, as for import."),
    ] = None,
    files: Annotated[
        bool, typer.Option("--files", help="Compare what is stored with files (or --from).")
    ] = False,
    columns: Annotated[
        bool,
        typer.Option("--columns", help="Compare the tables' columns with the truth beside them."),
    ] = False,
    cache: Annotated[
        bool, typer.Option("--cache", help="Compare every entry of the cache with the database.")
    ] = False,
    from_: From = None,
    table: Table = "vcons",
    after: Annotated[
        str | None,
        typer.Option(metavar="UUID", help="For --columns: begin after this vCon, to go on."),
    ] = None,
    config: Config = None,
    storage: Name = None,
    given: Given = None,
    report: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="A file for all differences: JSON lines with check, uuid, what and name.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare what is stored with what it should be, without changing anything.

    Paths of members and names of columns are told, never what they hold. What is stored is read
    from the database, not from the cache. A vCon that is saved meanwhile may be told as different
    from its file; an entry of the cache that changed meanwhile is looked at again.

    Exits with 1 if anything differs.

    ```sh
    conserver-supabase-storage verify --files calls/ 'more/**/*.vcon'
    conserver-supabase-storage verify --columns --cache --report differences.jsonl
    ```
    """
    from ..transfer import records  # noqa: PLC0415
    from ..transfer.questions import Questions  # noqa: PLC0415

    files = files or bool(paths) or from_ is not None
    if not (files or columns or cache):
        raise typer.BadParameter("say what to compare: --files PATH..., --columns or --cache")
    if after is not None and not columns:
        raise typer.BadParameter("--after is for --columns")
    what = chosen_sources(paths, config, from_, table) if files else []
    done = _Done(as_json)
    with (
        interruptible("run it again; with --columns, --after says where to go on", done.tell),
        opened(config, storage, given) as opened_storage,
        Questions(opened_storage.options) as questions,
        source_errors(),
        records.Report(report) as lines,
    ):
        try:
            if files:
                done.run("files", _count(what), _files(what, questions), lines)
            if columns:
                total = None
                if after is None:
                    total = opened_storage.search_page({"limit": 1, "include": ()}).total
                done.run("columns", total, _columns(questions, after), lines)
            if cache:
                done.run("cache", None, _cache(opened_storage.options, questions), lines)
        except UnavailableError as error:
            done.tell()
            fail(str(error))
    done.tell()
    if done.found:
        raise typer.Exit(1)


class _Done:
    """What was compared so far."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._checks: dict[str, dict[str, Any]] = {}
        self._told: list[dict[str, Any]] = []
        self.found = 0

    def run(self, name: str, total: int | None, pages: "Iterator[Page]", lines: "Report") -> None:
        """Make a check."""
        check = self._checks[name] = {"checked": 0, "differences": 0, "last": None}
        with progress(name, total, quiet=self._as_json) as advance:
            for page in pages:
                check["checked"] += page.checked
                check["differences"] += len(page.findings)
                check["last"] = page.last
                self.found += len(page.findings)
                for finding in page.findings:
                    told = {name: value for name, value in vars(finding).items() if value}
                    lines.write(told)
                    if len(self._told) < _TOLD:
                        self._told.append(told)
                        self._say(told)
                advance(page.checked)

    def tell(self) -> None:
        """Print the counts."""
        if self._as_json:
            print_json({**self._checks, "differences": self._told})
            return
        if self.found > len(self._told):
            more = self.found - len(self._told)
            typer.echo(f"and {more} more differences (--report FILE)")
        for name, check in self._checks.items():
            text = f"{name}: {check['checked']} compared, {check['differences']} differences"
            last = check["last"]
            typer.echo(f"{text}; the last was {last}" if last else text)

    def _say(self, told: dict[str, Any]) -> None:
        if not self._as_json:
            where = ": ".join(told[key] for key in ("name", "uuid") if key in told)
            typer.echo(f"{told['check']}: {where}: {told['what']}")


def _count(what: "list[Source]") -> int | None:
    from ..transfer import sources  # noqa: PLC0415

    return sources.count(what)


def _files(what: "list[Source]", questions: "Questions") -> "Iterator[Page]":
    from ..transfer import verifying  # noqa: PLC0415

    return verifying.files(what, questions)


def _columns(questions: "Questions", after: str | None) -> "Iterator[Page]":
    from ..transfer import verifying  # noqa: PLC0415

    return verifying.columns(questions, after)


def _cache(options: "Options", questions: "Questions") -> "Iterator[Page]":
    from redis import RedisError  # noqa: PLC0415

    from ..transfer import cached  # noqa: PLC0415

    with cached.open_cache(options) as opened_cache:
        try:
            yield from cached.check(opened_cache, questions)
        except RedisError as error:
            text = f"the cache's Redis does not answer: {type(error).__name__}"
            raise UnavailableError(text) from error
