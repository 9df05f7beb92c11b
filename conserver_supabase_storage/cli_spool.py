"""The commands for the spool: replay it, look into it, decide about what failed for good."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from .errors import ConfigurationError, StorageError, UnavailableError
from .spool import Record, Spool
from .storage import SupabaseStorage

spool_app = typer.Typer(help="Look into the spool of saves that could not be made yet.")

_NO_SPOOL = "there is no spool: give redis_url or spool_url"

Config = Annotated[
    Path | None,
    typer.Option("--config", help="The conserver's config.yml. Default: the environment alone."),
]
Name = Annotated[
    str | None,
    typer.Option("--storage", help="The storage's name in the config, if several use this module."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Uuids = Annotated[list[str] | None, typer.Argument(metavar="[UUID]...")]
All = Annotated[bool, typer.Option("--all", help="All that failed for good.")]


def replay(config: Config = None, storage: Name = None, as_json: AsJson = False) -> None:
    """Replay the spooled saves now, in their order. Exits with 1 if some still wait."""
    with opened(config, storage) as opened_storage:
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
def list_(config: Config = None, storage: Name = None, as_json: AsJson = False) -> None:
    """List what waits, in its order, and what failed for good, with why."""
    with spool_of(config, storage) as spool:
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
def show(uuid: str, config: Config = None, storage: Name = None) -> None:
    """Print a spooled vCon as JSON."""
    with spool_of(config, storage) as spool:
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
) -> None:
    """Put vCons that failed for good back in the queue, for the next replay."""
    with spool_of(config, storage) as spool:
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
) -> None:
    """Throw vCons that failed for good away."""
    with spool_of(config, storage) as spool:
        for record in _chosen(spool, uuids, all_):
            spool.drop_failure(record.uuid)
            typer.echo(f"{record.uuid} dropped")


@contextmanager
def opened(config: Path | None, name: str | None) -> Iterator[SupabaseStorage]:
    """Open the storage of a config, or of the environment; show our errors as one line."""
    try:
        with SupabaseStorage(options_of(config, name)) as storage:
            yield storage
    except StorageError as error:
        fail(str(error))


@contextmanager
def spool_of(config: Path | None, name: str | None) -> Iterator[Spool]:
    """Open the spool of a config, or of the environment."""
    from redis import RedisError  # noqa: PLC0415

    with opened(config, name) as storage:
        if storage.spool is None:
            raise ConfigurationError(_NO_SPOOL)
        try:
            yield storage.spool
        except RedisError as error:
            text = f"the spool does not answer: {type(error).__name__}"
            raise UnavailableError(text) from error


def options_of(config: Path | None, name: str | None) -> dict[str, Any] | None:
    """Read a storage's options from a conserver's config.

    Raises:
        ConfigurationError: there is no such config, or no one storage that is meant.
    """
    if config is None:
        return None
    import yaml  # noqa: PLC0415

    try:
        storages = yaml.safe_load(config.read_text("utf-8"))["storages"]
        ours = [key for key, value in storages.items() if value["module"] == __package__]
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        text = f"{config} is no conserver config with storages: {type(error).__name__}"
        raise ConfigurationError(text) from None
    if name is None and len(ours) != 1:
        raise ConfigurationError(f"--storage must say which of {ours} in {config}")
    chosen = name or ours[0]
    if chosen not in storages:
        raise ConfigurationError(f"{config} has no storage {chosen!r}")
    options: dict[str, Any] | None = storages[chosen].get("options")
    return options


def fail(text: str) -> NoReturn:
    """End the command with an error."""
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(1)


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
