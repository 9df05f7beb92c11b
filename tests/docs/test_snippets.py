"""Every block of code in the README and in docs/ runs. Needs the local Supabase.

A page's blocks run in their order: Python in one namespace, with an open `storage`; a shell block
in a folder with a config.yml, deploy/ and some files of vCons; SQL as the database's owner. YAML
and JSON are loaded, and the options of a storage checked; a config is then there, PAGE.yml.
The environment is the local Supabase's.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import yaml

import conserver_supabase_storage as package
from conserver_supabase_storage import Options, SupabaseStorage
from conserver_supabase_storage.local.postgres import client_program

from .. import home
from ..home import Supabase
from ..vcons import small_vcon
from .pages import PAGES, ROOT, Block, blocks, name

# How many blocks of a page are not run. Each says why, in the comment before it.
NOT_RUN = {
    "README.md": 2,
    "docs/benchmarks.md": 1,
    "docs/commands.md": 6,
    "docs/conserver.md": 1,
    "docs/contributing.md": 3,
    "docs/deployment.md": 3,
    "docs/index.md": 2,
    "docs/monitoring.md": 4,
    "docs/testing.md": 3,
}

LANGUAGES = {"python", "sh", "sql", "yaml", "json", "mermaid", "text"}


@pytest.fixture(scope="module")
def own(pytestconfig: pytest.Config) -> Iterator[Supabase]:
    """A Supabase of the pages' own: they may change it as they like."""
    with home.open_supabase(pytestconfig) as running:
        with SupabaseStorage(_options(running)) as storage:
            storage.save_many(small_vcon(subject=f"Invoice and refund {n}") for n in range(15))
        yield running


def _options(stack: Supabase) -> dict[str, Any]:
    return {"url": stack.url, "key": stack.service_role_key, "redis_url": stack.redis_url}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_runs(
    page: Path, own: Supabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    todo = [block for block in blocks(page) if block.reason is None]
    if not todo:
        return
    needs_pgvector = ("save_embedding", "CREATE EXTENSION IF NOT EXISTS vector")
    text = page.read_text("utf-8")
    if any(need in text for need in needs_pgvector) and not _has_pgvector(own):
        pytest.skip("this Postgres has no pgvector, and the page has examples with it")
    for variable, value in own.environment().items():
        monkeypatch.setenv(variable, value)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns(".env"))
    shutil.copy(ROOT / "config.example.yml", tmp_path / "config.yml")
    _lay_out(tmp_path)
    with SupabaseStorage(_options(own)) as storage:
        names: dict[str, Any] = {"storage": storage}
        for block in todo:
            try:
                _run(block, own, tmp_path, names)
                if block.language == "yaml" and "storages:" in block.code:
                    (tmp_path / f"{page.stem}.yml").write_text(block.code, "utf-8")
            except Exception as error:
                error.add_note(f"{name(page)}, the {block.language} block at line {block.line}")
                raise


def _lay_out(folder: Path) -> None:
    """Put files of vCons where the pages expect some."""
    for path in ("old-vcons/2026/03/01/a.json", "calls/b.vcon", "archive/2026/c.vcon"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(json.dumps(small_vcon()), "utf-8")
    (folder / "more.jsonl.gz").write_bytes(gzip.compress(json.dumps(small_vcon()).encode()))
    mend = small_vcon("01928cb4-1c5f-8c4a-b5f0-0a1b2c3d4e5f")
    (folder / "calls/mend.vcon").write_text(json.dumps(mend), "utf-8")


def _run(block: Block, own: Supabase, folder: Path, names: dict[str, Any]) -> None:
    match block.language:
        case "python":
            exec(compile(block.code, "<page>", "exec"), names)
        case "sh":
            _shell(block.code, own, folder)
        case "sql":
            with psycopg.connect(own.database_url, autocommit=True) as connection:
                connection.execute(block.code.encode())
        case "yaml":
            for document in yaml.safe_load_all(block.code):
                _check_storages(document)
        case "json":
            json.loads(block.code)


def _shell(code: str, own: Supabase, folder: Path) -> None:
    # The placeholders that a command can't take from the environment.
    code = code.replace("postgresql://postgres:PASSWORD@HOST:5432/postgres", own.database_url)
    if (new := "postgresql://postgres:PASSWORD@NEW_HOST:5432/postgres") in code:
        code = code.replace(new, own.create_database(f"new_{uuid4().hex}"))
    # pg_dump and so on have to be as new as the server.
    places = [Path(sys.executable).parent, client_program("pg_dump").parent, os.environ["PATH"]]
    path = os.pathsep.join(map(str, places))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"


def _check_storages(document: object) -> None:
    storages = document.get("storages", {}) if isinstance(document, Mapping) else {}
    for storage in storages.values():
        if storage["module"] == package.__name__:
            Options.parse(storage.get("options"))


def _has_pgvector(own: Supabase) -> bool:
    with psycopg.connect(own.database_url) as connection:
        return connection.execute("SELECT to_regclass('vcon_vectors')").fetchone() != (None,)


def test_only_so_many_blocks_are_not_run() -> None:
    found = {name(page): [b.reason for b in blocks(page) if b.reason] for page in PAGES}
    assert {page: len(reasons) for page, reasons in found.items() if reasons} == NOT_RUN


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_fence_is_found_and_says_its_language(page: Path) -> None:
    fences = [line for line in page.read_text("utf-8").splitlines() if "```" in line]
    languages = Counter(block.language for block in blocks(page))
    assert len(fences) == 2 * languages.total()
    assert set(languages) <= LANGUAGES
