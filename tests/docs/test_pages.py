"""What the pages say of errors, options, queries and files is so."""

import ast
import re
from pathlib import Path

import pytest

import conserver_supabase_storage as package
from conserver_supabase_storage import Query, StorageError, errors

from .pages import PAGES, ROOT, name
from .raised import raised

TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
SOURCES = sorted(Path(package.__path__[0]).rglob("*.py"))


def texts() -> str:
    """Every text in the package's code, with ... where a value is put in."""
    found = []
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.append(
                    "".join(
                        str(part.value if isinstance(part, ast.Constant) else "...")
                        for part in node.values
                    )
                )
    return "\n".join(found)


TEXTS = texts()


@pytest.mark.parametrize("heading", re.findall(r"^### `(.*)`$", TROUBLESHOOTING, re.MULTILINE))
def test_an_error_text_of_troubleshooting_is_one_of_ours(heading: str) -> None:
    for part in heading.split("..."):
        assert part in TEXTS, part


def test_every_error_text_has_its_place_in_troubleshooting() -> None:
    headings = re.findall(r"^### `(.*)`$", TROUBLESHOOTING, re.MULTILINE)
    patterns = [".*".join(map(re.escape, heading.split("..."))) for heading in headings]
    texts = list(raised())
    assert len(texts) > 80  # they are found at all
    missing = {
        text: where
        for text, where in texts
        if not any(re.search(pattern, text) for pattern in patterns)
    }
    assert not missing, "give them a place in docs/troubleshooting.md"


@pytest.mark.parametrize("heading", re.findall(r"^### `(.*)`$", TROUBLESHOOTING, re.MULTILINE))
def test_a_place_in_troubleshooting_is_not_everybodys(heading: str) -> None:
    assert len(max(heading.split("..."), key=len)) > 7


def test_troubleshooting_covers_every_error() -> None:
    ours = {
        name
        for name, error in vars(errors).items()
        if isinstance(error, type) and issubclass(error, StorageError)
    }
    headings = set(re.findall(r"^## (\w+Error)\b", TROUBLESHOOTING, re.MULTILINE))
    assert headings == ours
    for error in headings:
        section = TROUBLESHOOTING.partition(f"\n## {error}\n")[2].partition("\n## ")[0]
        assert "### `" in section, error


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_errors_of_a_page_are_there(page: Path) -> None:
    for error in re.findall(r"`(\w+Error)`", page.read_text("utf-8")):
        assert error in package.__all__


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_files_and_tests_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text("utf-8")
    for path in re.findall(r"`((?:tests|scripts|deploy|benchmarks|docs)/[\w./-]*)`", text):
        assert path == "deploy/.env" or (ROOT / path).exists(), path
    for test in re.findall(r"`[\w:]*?(test_\w+)(?:\[\w+\])?`", text):
        assert test in ALL_TESTS, test


ALL_TESTS = "\n".join(
    f"{path.stem}\n{path.read_text('utf-8')}" for path in (ROOT / "tests").rglob("test_*.py")
)


def test_the_table_of_search_has_every_field() -> None:
    page = (ROOT / "docs" / "search.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    assert {field for row in rows for field in re.findall(r"`(\w+)`", row)} == set(
        Query.model_fields
    )
