"""The texts of the errors that the package raises, read from its code."""

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import conserver_supabase_storage as package
from conserver_supabase_storage import StorageError, errors
from conserver_supabase_storage.retries import PassingError

PACKAGE = Path(package.__path__[0])

# The local Supabase's errors are for developers, and say it all.
SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent.name != "local"]

# pydantic makes our errors of ValueError; refusal() and _also() put texts together.
_RAISED = {
    *(
        name
        for name, error in vars(errors).items()
        if isinstance(error, type) and issubclass(error, StorageError)
    ),
    PassingError.__name__,
    "ValueError",
    "_also",
}


class Raised(NamedTuple):
    """A text, with ... where a value is put in, and where it is raised."""

    text: str
    where: str


def raised() -> Iterator[Raised]:
    """Find the texts that errors are made of; those that are only values are left out."""
    for source in SOURCES:
        tree = ast.parse(source.read_text("utf-8"))
        where = str(source.relative_to(PACKAGE))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in _RAISED:
                place = 1 if node.func.id == "_also" else 0
                for text in _texts(node.args[place], tree) if len(node.args) > place else ():
                    if text.replace("...", "").strip(" :;"):
                        yield Raised(text, f"{where}, line {node.lineno}")


def _texts(node: ast.expr, tree: ast.Module) -> Iterator[str]:
    """The texts that an expression may be; those of a name are all that is assigned to it."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            found = [list(_texts(part, tree)) or ["..."] for part in parts]
            yield from map("".join, itertools.product(*found))
        case ast.FormattedValue(value=ast.Name() as name):
            yield from _texts(name, tree)
        case ast.BinOp(left=left, right=right):
            for first in _texts(left, tree):
                for second in _texts(right, tree):
                    yield first + second
        case ast.IfExp(body=body, orelse=other):
            yield from _texts(body, tree)
            yield from _texts(other, tree)
        case ast.Name(id=name):
            for assigned in ast.walk(tree):
                if isinstance(assigned, ast.Assign) and any(
                    isinstance(target, ast.Name) and target.id == name
                    for target in assigned.targets
                ):
                    yield from _texts(assigned.value, tree)
