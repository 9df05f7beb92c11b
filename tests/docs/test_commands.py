"""The reference of docs/commands.md is what --help says: UPDATE_DOCS=1 writes it anew."""

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from conserver_supabase_storage.cli import app

from .pages import ROOT

PAGE = ROOT / "docs" / "commands.md"
PROGRAM = "conserver-supabase-storage"

# Examples that can't run among the others of the page.
NOT_RUN = {
    "up": "it runs until Ctrl-C",
    "spool show": "nothing is in the spool",
    "metrics": "it runs until Ctrl-C or SIGTERM",
    "import": "docs/moving.md has blocks like this that are",
    "verify": "docs/moving.md has blocks like this that are",
}

# Options of most commands, and of several, which the page explains once.
SHARED = ("--config", "--storage", "--option", "--json")
CRITERIA = "Criteria"


def commands() -> Iterator[tuple[str, Any]]:
    """All commands with their names, also those of groups."""
    group = typer.main.get_group(app)
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            for inner, its in command.commands.items():
                yield f"{name} {inner}", its
        else:
            yield name, command


def options(command: Any) -> list[Any]:
    return [p for p in command.params if p.param_type_name == "option" and p.help]


def is_criterion(option: Any) -> bool:
    return str(getattr(option, "rich_help_panel", None)).startswith(CRITERIA)


def row(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    metavar = f" {option.metavar}" if option.metavar else ""
    said = option.help
    if option.envvar:
        said += f" Default: the environment's `{option.envvar}`."
    elif option.default not in (None, False, ()):
        said += f" Default: {option.default}."
    return f"| {names}{metavar} | {said} |"


def table(rows: list[Any]) -> str:
    return "\n".join(["| option | what it does |", "|---|---|", *map(row, rows)])


def section(name: str, command: Any) -> str:
    help_ = command.help
    if name in NOT_RUN:
        help_ = help_.replace("```sh", f"<!-- not run: {NOT_RUN[name]} -->\n```sh", 1)
    arguments = "".join(
        f" {p.metavar or p.name.upper()}" for p in command.params if p.param_type_name == "argument"
    )
    parts = [f"### {name}", help_, f"```text\n{PROGRAM} {name} [OPTIONS]{arguments}\n```"]
    mine = [o for o in options(command) if o.opts[0] not in SHARED and not is_criterion(o)]
    if mine:
        parts.append(table(mine))
    shared = [f"`{o.opts[0]}`" for o in options(command) if o.opts[0] in SHARED]
    if any(map(is_criterion, options(command))):
        shared.append("[criteria](#criteria)")
    if shared:
        parts.append(f"{'Also' if mine else 'Takes'}: {', '.join(shared)}.")
    return "\n\n".join(parts)


def shared_options() -> str:
    found = {o.opts[0]: o for _, command in commands() for o in options(command)}
    return table([found[name] for name in SHARED])


def criteria() -> str:
    found = {o.opts[0]: o for _, c in commands() for o in options(c) if is_criterion(o)}
    return table(list(found.values()))


def reference() -> str:
    return "\n\n".join(section(name, command) for name, command in commands())


def test_the_page_is_made_from_the_commands() -> None:
    page = wanted = PAGE.read_text("utf-8")
    made = {"shared": shared_options(), "criteria": criteria(), "reference": reference()}
    for name, text in made.items():
        wanted, count = re.subn(
            rf"(?s)(<!-- {name}: made [^>]*-->\n).*?(<!-- {name}: end -->)",
            lambda found, text=text: f"{found[1]}\n{text}\n\n{found[2]}",  # type: ignore[misc]
            wanted,
        )
        assert count == 1, name
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(wanted, "utf-8")
        return
    assert page == wanted, "renew it by UPDATE_DOCS=1 (docs/contributing.md)"


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_the_page_says_what_each_command_is_for(name: str) -> None:
    purpose = PAGE.read_text("utf-8").partition("## Options of all commands")[0]
    assert re.search(rf"^\| \[`{name}`\]\(#{name.replace(' ', '-')}\) \| .+ \|$", purpose, re.M)
