"""The arguments by which `import` and `verify` name what is to be read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import _storages, errors, fail

if TYPE_CHECKING:
    from ..transfer.found import Source

From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="NAME",
        help="Read a storage of --config, of the conserver's modules file, postgres or s3.",
    ),
]
Table = Annotated[
    str, typer.Option(help="For postgresql:// URLs: the table of the conserver's storage.")
]


@contextmanager
def source_errors() -> Iterator[None]:
    """Show the error of a source, or of a file that can't be written, as one line."""
    from ..transfer.found import SourceError  # noqa: PLC0415

    try:
        yield
    except SourceError as error:
        fail(str(error))
    except OSError as error:
        fail(": ".join(str(part) for part in (error.filename, error.strerror) if part))


def chosen_sources(
    paths: list[str] | None, config: Path | None, from_: str | None, table: str
) -> "list[Source]":
    """Return what is meant by a command's arguments.

    Raises:
        typer.BadParameter: nothing is, or something that is not there; the command ends with 2.
    """
    from ..transfer import sources  # noqa: PLC0415
    from ..transfer.found import SourceError  # noqa: PLC0415

    if from_ is not None and config is None:
        raise typer.BadParameter("--from names a storage of --config, which is not given")
    if not paths and from_ is None:
        raise typer.BadParameter("name files, folders, patterns or URLs, or - (or --from)")
    try:
        found = [sources.of_argument(path, table) for path in paths or ()]
        if config is not None and from_ is not None:
            with errors():
                _, storages = _storages(config)
            found.append(sources.of_config(storages, from_))
    except SourceError as error:
        raise typer.BadParameter(str(error)) from None
    return found
