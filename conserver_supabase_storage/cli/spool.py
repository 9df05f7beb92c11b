"""The commands for the spool: replay it, look into it, decide about what failed for good."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigurationError, UnavailableError
from .common import (
    AsJson,
    Config,
    Given,
    Name,
    canonical,
    fail,
    interruptible,
    opened,
    print_json,
    progress,
)

if TYPE_CHECKING:
    from ..spool import Record, Spool
    from ..storage import SupabaseStorage

spool_app = typer.Typer(
    no_args_is_help=True,
    help="""Look into the spool of saves that could not be made yet.

    What waits is saved by itself once Supabase is back (or by `replay`). What Supabase refused
    failed for good: mend the cause and `retry`, or `drop` it.

    ```sh
    conserver-supabase-storage spool list
    ```
    """,
)

_NO_SPOOL = "there is no spool: give redis_url or spool_url"

Uuids = Annotated[list[str] | None, typer.Argument(metavar="[UUID]...")]
All = Annotated[bool, typer.Option("--all", help="All that failed for good.")]


def replay(
    config: Config = None, storage: Name = None, given: Given = None, as_json: AsJson = False
) -> None:
    """Replay the spooled saves now, in their order. Exits with 1 if some still wait.

    A worker does it by itself with its next save, once Supabase is back. One process replays at a
    time; after Ctrl-C what is left waits on.

    ```sh
    conserver-supabase-storage replay
    conserver-supabase-storage replay --json
    ```
    """
    counts = {"replayed": 0, "failed": 0, "waiting": 0}

    def report() -> None:
        if as_json:
            print_json(counts)
        else:
            typer.echo(", ".join(f"{count} {what}" for what, count in counts.items()))

    def note(outcome: str) -> None:
        counts[outcome] += 1
        counts["waiting"] = max(0, counts["waiting"] - 1)
        advance(1)

    with (
        interruptible("what is left waits on; run it again to go on", report),
        spool_of(config, storage, given) as (opened_storage, spool),
    ):
        counts["waiting"] = spool.size()["waiting"]
        with progress("replay", counts["waiting"], quiet=as_json) as advance:
            counts |= opened_storage.replay(note)
    report()
    if counts["waiting"]:
        raise typer.Exit(1)


@spool_app.command("list")
def list_(
    config: Config = None, storage: Name = None, given: Given = None, as_json: AsJson = False
) -> None:
    """List what waits, in its order, and what failed for good, with why.

    ```sh
    conserver-supabase-storage spool list
    conserver-supabase-storage spool list --json
    ```
    """
    with spool_of(config, storage, given) as (_, spool):
        rows = [_row("waiting", record) for record in spool.waiting()]
        rows += [_row("failed", record) for record in spool.failures()]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        typer.echo("  ".join(str(value) for value in row.values() if value is not None))
    if not rows:
        typer.echo("the spool is empty")


@spool_app.command()
def show(
    uuid: Annotated[str, typer.Argument(metavar="UUID")],
    config: Config = None,
    storage: Name = None,
    given: Given = None,
    as_json: AsJson = False,
) -> None:
    """Print a spooled vCon as JSON; with --json, also when it was spooled and why it failed.

    ```sh
    conserver-supabase-storage spool show 01928cb4-1c5f-8c4a-b5f0-0a1b2c3d4e5f
    ```
    """
    [key] = canonical([uuid])
    with spool_of(config, storage, given) as (_, spool):
        record, state = spool.read(key), "waiting"
        if record is None:
            record, state = spool.failure(key), "failed"
    if record is None:
        fail(f"{uuid} is not in the spool")
    shown = record.document
    if as_json:  # the document as it is, so that its numbers keep their digits
        shown = f'{json.dumps(_row(state, record))[:-1]}, "vcon": {shown}}}'
    typer.echo(shown)


@spool_app.command()
def retry(
    uuids: Uuids = None,
    all_: All = False,
    config: Config = None,
    storage: Name = None,
    given: Given = None,
    as_json: AsJson = False,
) -> None:
    """Put vCons that failed for good back in the queue, for the next replay.

    ```sh
    conserver-supabase-storage spool retry --all
    conserver-supabase-storage replay
    ```
    """

    def put_back(spool: "Spool", record: "Record") -> None:
        # One that waits was saved later: it stays.
        if full := spool.put(record.uuid, record.document, record.not_after, replace=False):
            fail(f"the spool is full (spool_max_{full}): {record.uuid} stays where it is")
        spool.drop_failure(record.uuid)

    _check_choice(uuids, all_)
    with spool_of(config, storage, given) as (_, spool):
        _decide(put_back, "waits again", spool, _chosen(spool, uuids), as_json=as_json)


@spool_app.command()
def drop(
    uuids: Uuids = None,
    all_: All = False,
    config: Config = None,
    storage: Name = None,
    given: Given = None,
    as_json: AsJson = False,
) -> None:
    """Throw vCons that failed for good away.

    ```sh
    conserver-supabase-storage spool drop --all
    ```
    """

    def throw_away(spool: "Spool", record: "Record") -> None:
        spool.drop_failure(record.uuid)

    _check_choice(uuids, all_)
    with spool_of(config, storage, given) as (_, spool):
        _decide(throw_away, "dropped", spool, _chosen(spool, uuids), as_json=as_json)


@contextmanager
def spool_of(
    config: Path | None, name: str | None, given: list[str] | None
) -> "Iterator[tuple[SupabaseStorage, Spool]]":
    """Open the storage of a config, or of the environment, that has a spool."""
    from redis import RedisError  # noqa: PLC0415

    with opened(config, name, given) as storage:
        if storage.spool is None:
            raise ConfigurationError(_NO_SPOOL)
        try:
            yield storage, storage.spool
        except RedisError as error:
            text = f"the spool does not answer: {type(error).__name__}"
            raise UnavailableError(text) from error


def _check_choice(uuids: list[str] | None, all_: bool) -> None:
    if all_ == bool(uuids):
        raise typer.BadParameter("name the vCons, or say --all")


def _chosen(spool: "Spool", uuids: list[str] | None) -> "list[Record]":
    """Return those that failed for good: the named ones, or all."""
    if not uuids:
        return list(spool.failures())
    found = []
    for uuid in canonical(uuids):
        record = spool.failure(uuid)
        if record is None:
            fail(f"{uuid} is not among those that failed for good")
        found.append(record)
    return found


def _decide(
    act: "Callable[[Spool, Record], None]",
    said: str,
    spool: "Spool",
    records: "list[Record]",
    *,
    as_json: bool,
) -> None:
    """Do with each what was decided, and say so, also where one can't be done."""
    done: list[str] = []
    try:
        for record in records:
            act(spool, record)
            done.append(record.uuid)
    finally:
        if as_json:
            print_json([{"uuid": uuid, "state": said} for uuid in done])
        else:
            for uuid in done:
                typer.echo(f"{uuid} {said}")


def _row(state: str, record: "Record") -> dict[str, Any]:
    at = datetime.fromtimestamp(record.at, UTC).isoformat(timespec="seconds")
    return {
        "state": state,
        "uuid": record.uuid,
        "spooled_at": at,
        "bytes": len(record.document.encode()),
        "error": record.error,
    }
