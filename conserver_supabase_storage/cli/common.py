"""What the commands share: where options come from, how they report, fail and are interrupted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ..errors import ConfigurationError, StorageError
from ..storage import SupabaseStorage

# An interrupt from the keyboard, as shells report it.
INTERRUPTED = 130

_MODULE = __package__.rpartition(".")[0]

Config = Annotated[
    Path | None,
    typer.Option("--config", help="The conserver's config.yml. Default: the environment alone."),
]
Name = Annotated[
    str | None,
    typer.Option("--storage", help="The storage's name in the config, if several use this module."),
]
Given = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        metavar="NAME=VALUE",
        help="An option, such as url=https://...; wins over the config. Repeat it for more. "
        "Keys are better left to the environment: others can see a command's arguments.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def errors() -> Iterator[None]:
    """Show our own errors as one line; a traceback is for defects."""
    try:
        yield
    except StorageError as error:
        fail(str(error))


@contextmanager
def opened(
    config: Path | None, name: str | None, given: list[str] | None = None
) -> Iterator[SupabaseStorage]:
    """Open the storage of a config, of flags or of the environment; show our errors as one line."""
    with errors(), SupabaseStorage(options_of(config, name, given)) as storage:
        yield storage


def options_of(
    config: Path | None, name: str | None, given: list[str] | None = None
) -> dict[str, Any] | None:
    """Read a storage's options from a conserver's config and from flags, which win.

    Raises:
        ConfigurationError: there is no such config, no one storage that is meant, or a flag is not
            NAME=VALUE.
    """
    flags: dict[str, Any] = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigurationError(f"--option wants NAME=VALUE; {key!r} has no =")
        flags[key] = value
    options = _of_config(config, name) if config is not None else None
    return {**(options or {}), **flags} or None


def _of_config(config: Path, name: str | None) -> dict[str, Any] | None:
    import yaml  # noqa: PLC0415

    try:
        storages = yaml.safe_load(config.read_text("utf-8"))["storages"]
        ours = [key for key, value in storages.items() if value["module"] == _MODULE]
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        text = f"{config} is no conserver config with storages: {type(error).__name__}"
        raise ConfigurationError(text) from None
    if name is None and len(ours) != 1:
        raise ConfigurationError(f"--storage must say which of {ours} in {config}")
    chosen = name or ours[0]
    if chosen not in storages:
        raise ConfigurationError(f"{config} has no storage {chosen!r}")
    options: dict[str, Any] | None = storages[chosen].get("options")
    if options is not None and not isinstance(options, dict):
        raise ConfigurationError(f"the options of {chosen} in {config} are no mapping")
    return options


def fail(text: str) -> NoReturn:
    """End the command with an error."""
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(1)


@contextmanager
def progress(name: str, total: int | None, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal, and elsewhere a line now and then."""
    from rich.console import Console  # noqa: PLC0415  not for the other commands
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> str:
            speed = task.finished_speed or task.speed
            return "" if speed is None else f"{speed:,.0f}/s"

    console = Console(stderr=True, quiet=quiet)
    if not console.is_terminal:
        done = 0

        def tell(count: int) -> None:
            nonlocal done
            done += count
            of = "" if total is None else f" of {total}"
            console.print(f"{name}: {done}{of}", highlight=False)

        yield tell
        return
    columns = (
        TextColumn(name),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(name, total=total)
        yield lambda count: bar.advance(task, count)
