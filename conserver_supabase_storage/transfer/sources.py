"""Which source is meant by an argument of a command, or by a storage in the conserver's config."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .files import Files, Stdin
from .found import Found, Place, Source, SourceError
from .postgres import PostgresTable
from .s3 import Bucket

_POSTGRES = ("postgresql://", "postgres://")
_S3 = "s3://"


def of_argument(argument: str, table: str = "vcons") -> Source:
    """Return the source of a path, a pattern, a URL, or ``-``.

    Args:
        argument: as it was given.
        table: for a Postgres URL.

    Raises:
        SourceError: there is no such thing, or it needs a package that is not installed.
    """
    if argument == "-":
        return Stdin(sys.stdin.buffer)
    if argument.startswith(_POSTGRES):
        return PostgresTable(argument, table)
    if argument.startswith(_S3):
        bucket, _, prefix = argument.removeprefix(_S3).partition("/")
        return Bucket(bucket, prefix)
    return Files(argument)


def of_config(storages: Mapping[str, Any], name: str) -> Source:
    """Return the source that is a storage of the conserver's own, with the options that it has.

    Args:
        storages: those of a config.yml.
        name: which one.

    Raises:
        SourceError: there is no such storage, or none that can be read.
    """
    given = storages.get(name)
    if not isinstance(given, Mapping):
        raise SourceError(f"the config has no storage {name!r}")
    module, options = given.get("module"), given.get("options") or {}
    try:
        return _of_module(module, options)
    except KeyError as missing:
        raise SourceError(f"the storage {name!r} has no option {missing.args[0]}") from None


def _of_module(module: object, options: Mapping[str, Any]) -> Source:
    match module:
        case "storage.file":
            return Files(options.get("path", "/data/vcons"))
        case "storage.postgres":
            names = {"dbname": "database"} | {n: n for n in ("user", "password", "host", "port")}
            address = {name: options[option] for name, option in names.items()}
            return PostgresTable(address, options.get("table_name", "vcons"))
        case "storage.s3":
            names = {"aws_region": "region_name", "endpoint_url": "endpoint_url"}
            client = {names[name]: options[name] for name in names if options.get(name)}
            for name in ("aws_access_key_id", "aws_secret_access_key"):
                client[name] = options[name]
            return Bucket(options["aws_bucket"], options.get("s3_path") or "", client)
    text = "can be read are storage.file, storage.postgres and storage.s3"
    raise SourceError(f"the module {module} is none that can be read; those that {text}")


def read(
    sources: Sequence[Source], after: tuple[int, Place] | None = None
) -> Iterator[tuple[int, Found]]:
    """Yield what is in the sources, one after the other, each with the source's number.

    Args:
        sources: what to read.
        after: the number of a source, and the place in it after which to begin.

    Raises:
        SourceError: one can't be read.
    """
    first, place = after or (0, None)
    for number, source in enumerate(sources[first:], first):
        for found in source.read(place if number == first else None):
            yield number, found


def count(sources: Sequence[Source]) -> int | None:
    """Return how many vCons there will be, if that is quickly known."""
    total = 0
    for source in sources:
        if (known := source.count()) is None:
            return None
        total += known
    return total
