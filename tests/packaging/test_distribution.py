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
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


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


@pytest.mark.parametrize("version", PYTHONS)
def test_it_works_in_an_empty_environment(
    installed: Installed, version: str, tmp_path: Path
) -> None:
    if version not in installed:
        pytest.skip(f"there is no Python {version} on this machine")
    programs = installed[version]
    code = "import conserver_supabase_storage as s; s.SupabaseStorage; print(s.__file__)"
    assert str(programs.parent) in run(programs / "python", "-c", code, cwd=tmp_path)
    command = programs / "conserver-supabase-storage"
    assert "migrate" in run(command, "--help", cwd=tmp_path)
    printed = run(command, "migrate", "--print", cwd=tmp_path)
    for migration in (PACKAGE / "sql" / "migrations").glob("*.sql"):
        assert migration.read_text("utf-8") in printed
