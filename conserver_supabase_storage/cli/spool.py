"""The commands for the spool: replay it, look into it, decide about what failed for good."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import ConfigurationError, UnavailableError
from ..spool import Record, Spool
from .common import AsJson, Config, Given, Name, fail, opened

spool_app = typer.Typer(help="Look into the spool of saves that could not be made yet.")

_NO_SPOOL = "there is no spool: give redis_url or spool_url"

Uuids = Annotated[list[str] | None, typer.Argument(metavar="[UUID]...")]
All = Annotated[bool, typer.Option("--all", help="All that failed for good.")]


def replay(
    config: Config = None, storage: Name = None, given: Given = None, as_json: AsJson = False
) -> None:
    """Replay the spooled saves now, in their order. Exits with 1 if some still wait."""
    with opened(config, storage, given) as opened_storage:
        if opened_storage.spool is None:
            raise ConfigurationError(_NO_SPOOL)
        counts = opened_storage.replay()
    if as_json:
        typer.echo(json.dumps(counts))
    else:
        typer.echo(", ".join(f"{count} {what}" for what, count in counts.items()))
    if counts["waiting"]:
        raise typer.Exit(1)


@spool_app.command("list")
def list_(
    config: Config = None, storage: Name = None, given: Given = None, as_json: AsJson = False
) -> None:
    """List what waits, in its order, and what failed for good, with why."""
    with spool_of(config, storage, given) as spool:
        rows = [_row("waiting", record) for record in spool.waiting()]
        rows += [_row("failed", record) for record in spool.failures()]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        typer.echo("  ".join(str(value) for value in row.values() if value is not None))
    if not rows:
        typer.echo("the spool is empty")


@spool_app.command()
def show(uuid: str, config: Config = None, storage: Name = None, given: Given = None) -> None:
    """Print a spooled vCon as JSON."""
    with spool_of(config, storage, given) as spool:
        record = spool.read(uuid.lower()) or spool.failure(uuid.lower())
    if record is None:
        fail(f"{uuid} is not in the spool")
    typer.echo(record.document)


@spool_app.command()
def retry(
    uuids: Uuids = None,
    all_: All = False,
    config: Config = None,
    storage: Name = None,
    given: Given = None,
) -> None:
    """Put vCons that failed for good back in the queue, for the next replay."""
    with spool_of(config, storage, given) as spool:
        for record in _chosen(spool, uuids, all_):
            # One that waits was saved later: it stays.
            if full := spool.put(record.uuid, record.document, record.not_after, replace=False):
                fail(f"the spool is full (spool_max_{full}): {record.uuid} stays where it is")
            spool.drop_failure(record.uuid)
            typer.echo(f"{record.uuid} waits again")


@spool_app.command()
def drop(
    uuids: Uuids = None,
    all_: All = False,
    config: Config = None,
    storage: Name = None,
    given: Given = None,
) -> None:
    """Throw vCons that failed for good away."""
    with spool_of(config, storage, given) as spool:
        for record in _chosen(spool, uuids, all_):
            spool.drop_failure(record.uuid)
            typer.echo(f"{record.uuid} dropped")


@contextmanager
def spool_of(config: Path | None, name: str | None, given: list[str] | None) -> Iterator[Spool]:
    """Open the spool of a config, or of the environment."""
    from redis import RedisError  # noqa: PLC0415

    with opened(config, name, given) as storage:
        if storage.spool is None:
            raise ConfigurationError(_NO_SPOOL)
        try:
            yield storage.spool
        except RedisError as error:
            text = f"the spool does not answer: {type(error).__name__}"
            raise UnavailableError(text) from error


def _chosen(spool: Spool, uuids: list[str] | None, all_: bool) -> list[Record]:
    if all_ == bool(uuids):
        fail("name the vCons, or say --all")
    if all_:
        return list(spool.failures())
    found = []
    for uuid in uuids or ():
        record = spool.failure(uuid.lower())
        if record is None:
            fail(f"{uuid} is not among those that failed for good")
        found.append(record)
    return found


def _row(state: str, record: Record) -> dict[str, Any]:
    at = datetime.fromtimestamp(record.at, UTC).isoformat(timespec="seconds")
    return {
        "state": state,
        "uuid": record.uuid,
        "spooled_at": at,
        "bytes": len(record.document.encode()),
        "error": record.error,
    }
