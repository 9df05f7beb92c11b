"""What a release uploads builds clean, and works in an empty environment of each Python."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "conserver_supabase_storage"
PYTHONS = ("3.12", "3.13")

type Installed = dict[str, Path]


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command; return all that it printed."""
    done = _run(*command, cwd=cwd)
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


def _run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    # Without the variable by which a checkout would stand in for what is installed.
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel that was built from it, as a release does."""
    folder = tmp_path_factory.mktemp("dist")
    tree = folder / "tree"
    leftovers = shutil.ignore_patterns("__pycache__", "node_modules")
    shutil.copytree(PACKAGE, tree / PACKAGE.name, ignore=leftovers)
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    output = run(sys.executable, "-m", "build", "--outdir", folder / "out", tree)
    # setuptools' own: others are about the machine, such as pip's.
    assert not re.search(r"\w+Warning\b|warning: no ", output), output
    return folder / "out"


def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


def test_the_wheel_has_all_files_of_the_package_and_the_license(dist: Path) -> None:
    names = zipfile.ZipFile(wheel(dist)).namelist()
    wanted = {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.is_file()
        and path.suffix in {".py", ".sql", ".lua", ".typed", ".json"}
        and "node_modules" not in path.parts
    }
    assert wanted <= set(names)
    assert any(name.endswith(".lua") for name in wanted)
    assert "conserver_supabase_storage/py.typed" in names
    (license_file,) = [name for name in names if name.endswith("/LICENSE")]
    assert zipfile.ZipFile(wheel(dist)).read(license_file).startswith(b"MIT License")
    others = [name for name in names if not name.startswith("conserver_supabase_storage")]
    assert others == []


def test_the_sdist_has_what_a_build_needs(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        (license_file,) = [
            name
            for name in archive.getnames()
            if name.count("/") == 1 and name.endswith("/LICENSE")
        ]
        content = archive.extractfile(license_file)
        assert content is not None
        assert content.read().startswith(b"MIT License")
    assert {"pyproject.toml", "setup.cfg", "README.md", "LICENSE"} <= names


def test_the_metadata_is_what_an_index_takes(dist: Path) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", *dist.iterdir())


def interpreter(version: str) -> str | None:
    """A Python of a version: on the PATH, or of pyenv or uv; None if there is none."""
    names = [f"python{version}", sys.executable]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    names += map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python3")))
    for name in names:
        # A name on the PATH may be a shim that fails when it is run.
        if shutil.which(name) and _version(name) == version:
            return name
    return None


def _version(python: str) -> str:
    code = "import sys; print('{}.{}'.format(*sys.version_info))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """By version, the folder of programs of an environment with the wheel; all made at once."""

    def install(version: str) -> tuple[str, Path] | None:
        if (python := interpreter(version)) is None:
            return None
        folder = tmp_path_factory.mktemp(f"venv-{version}")
        run(python, "-m", "venv", folder)
        pip = (folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check")
        run(*pip, "install", "--quiet", "--prefer-binary", f"{wheel(dist)}[cli]")
        run(*pip, "check")
        return version, folder / "bin"

    with ThreadPoolExecutor() as pool:
        return dict(filter(None, pool.map(install, PYTHONS)))


@pytest.fixture(params=PYTHONS)
def programs(request: pytest.FixtureRequest, installed: Installed) -> Path:
    if request.param not in installed:
        pytest.skip(f"there is no Python {request.param} on this machine: not tried on it")
    return installed[request.param]


def test_it_works_in_an_empty_environment(programs: Path, tmp_path: Path) -> None:
    code = "import conserver_supabase_storage as s; s.SupabaseStorage; print(s.__file__)"
    assert str(programs.parent) in run(programs / "python", "-c", code, cwd=tmp_path)
    command = programs / "conserver-supabase-storage"
    assert "migrate" in run(command, "--help", cwd=tmp_path)
    printed = run(command, "migrate", "--print", cwd=tmp_path)
    for migration in (PACKAGE / "sql" / "migrations").glob("*.sql"):
        assert migration.read_text("utf-8") in printed


TYPED = """
from conserver_supabase_storage import SearchPage, SupabaseStorage

def subjects(storage: SupabaseStorage) -> list[str | None]:
    page: SearchPage = storage.search_page({"limit": 1})
    found = storage.get("01928cb4-1c5f-8c4a-b5f0-0a1b2c3d4e5f")
    assert found is not None and found["uuid"]
    return [hit.subject for hit in page.hits]
"""


def test_its_types_are_known_to_those_who_install_it(programs: Path, tmp_path: Path) -> None:
    """Without py.typed mypy would take all of it for Any, and find no mistake."""
    mypy = (sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache")
    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    right.write_text(TYPED, "utf-8")
    python = ("--python-executable", programs / "python")
    run(*mypy, *python, right, cwd=tmp_path)
    wrong.write_text(TYPED.replace("hit.subject", "hit.subjects"), "utf-8")
    done = _run(*mypy, *python, wrong, cwd=tmp_path)
    assert done.returncode == 1
    assert '"Hit" has no attribute "subjects"' in done.stdout
