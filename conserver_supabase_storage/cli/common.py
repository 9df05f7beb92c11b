"""What the commands share: where options come from, how they report, fail and are interrupted.

Every command imports this module, and a probe that runs every few seconds waits for it. So what
costs time (rich, pydantic, the storage with its clients) is imported where it is needed.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from ..errors import ConfigurationError, InvalidVconError, StorageError

if TYPE_CHECKING:
    from ..storage import SupabaseStorage

# An interrupt from the keyboard, as shells report it.
INTERRUPTED = 130

_MODULE = __package__.rpartition(".")[0]


def _names(context: typer.Context, incomplete: str) -> list[str]:
    """Complete --storage from the --config before it. No completion is no error."""
    try:
        ours, _ = _storages(Path(context.params["config"]))
    except (ConfigurationError, KeyError, TypeError):
        return []
    return [name for name in ours if name.startswith(incomplete)]


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The conserver's config.yml. Default: the environment alone.",
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="NAME",
        help="The storage's name in the config, if several use this module.",
        autocompletion=_names,
    ),
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


class Commands(TyperGroup):
    """The commands, which all end in the same way where they are interrupted."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with interruptible():
            return super().invoke(ctx)


@contextmanager
def interruptible(
    advice: str | Callable[[], str] = "", report: Callable[[], None] | None = None
) -> Iterator[None]:
    """Where Ctrl-C ends the block, say how to go on, and exit with 130.

    Args:
        advice: how to go on, or what returns that.
        report: called first, to say what was done until then.
    """
    try:
        yield
    except KeyboardInterrupt:
        if report is not None:
            report()
        said = advice() if callable(advice) else advice
        typer.echo(f"interrupted; {said}" if said else "interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None


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
) -> "Iterator[SupabaseStorage]":
    """Open the storage of a config, of flags or of the environment; show our errors as one line."""
    from ..storage import SupabaseStorage  # noqa: PLC0415

    with errors(), SupabaseStorage(options_of(config, name, given)) as storage:
        # What the first operation needs is loaded before its time (total_timeout) begins: it takes
        # seconds on a small machine, and a probe would call Supabase down.
        import supabase  # noqa: F401, PLC0415

        yield storage


def options_of(
    config: Path | None, name: str | None, given: list[str] | None = None
) -> dict[str, Any] | None:
    """Read a storage's options from a conserver's config and from flags, which win.

    Raises:
        ConfigurationError: there is no such config, or no one storage that is meant.
        typer.BadParameter: a flag is not NAME=VALUE; the command ends with 2.
    """
    flags: dict[str, Any] = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"--option wants NAME=VALUE; {key!r} has no =")
        flags[key] = value
    options = _of_config(config, name) if config is not None else None
    return {**(options or {}), **flags} or None


def _of_config(config: Path, name: str | None) -> dict[str, Any] | None:
    ours, storages = _storages(config)
    if name is None and len(ours) != 1:
        raise ConfigurationError(f"--storage must say which of {ours} in {config}")
    chosen = name or ours[0]
    if chosen not in storages:
        raise ConfigurationError(f"{config} has no storage {chosen!r}")
    options: dict[str, Any] | None = storages[chosen].get("options")
    if options is not None and not isinstance(options, dict):
        raise ConfigurationError(f"the options of {chosen} in {config} are no mapping")
    return options


def _storages(config: Path) -> tuple[list[str], dict[str, Any]]:
    """Return the names of a config's storages that use this module, and all its storages."""
    import yaml  # noqa: PLC0415

    try:
        storages = yaml.safe_load(config.read_text("utf-8"))["storages"]
        ours = [key for key, value in storages.items() if value["module"] == _MODULE]
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        text = f"{config} is no conserver config with storages: {type(error).__name__}"
        raise ConfigurationError(text) from None
    return ours, storages


def fail(text: str) -> NoReturn:
    """End the command with an error."""
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(1)


def canonical(uuids: list[str]) -> list[str]:
    """Check uuids that were given, each kept once.

    Raises:
        typer.BadParameter: one is none; the command ends with 2.
    """
    from ..document import canonical_uuid  # noqa: PLC0415

    try:
        return list(dict.fromkeys(canonical_uuid(uuid, uuid) for uuid in uuids))
    except InvalidVconError as error:
        raise typer.BadParameter(str(error)) from None


def print_json(value: object) -> None:
    """Print the one JSON value of a command."""
    typer.echo(json.dumps(value, ensure_ascii=False))


@contextmanager
def progress(name: str, total: int | None, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show how far something is, how fast it goes and what time is left.

    On a terminal as a bar, elsewhere as a line every few seconds and at the end.

    Args:
        name: of what is counted.
        total: how many there will be, if that is known.
        quiet: whether to show nothing.
    """
    from . import bars  # noqa: PLC0415

    if quiet:
        yield lambda _: None
    elif bars.on_terminal():
        with bars.bar(name, total) as advance:
            yield advance
    else:
        with bars.lines(name, total) as advance:
            yield advance
