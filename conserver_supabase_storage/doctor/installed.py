"""What is installed, against what this package needs and what the conserver pins."""

import sys
from collections.abc import Generator
from importlib import import_module, metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from .finding import Finding, broken, ok, warning

_OURS = "conserver-supabase-storage"

# Of vcon-server's pyproject.toml. What it does not pin, such as supabase, is ours alone.
_CONSERVERS_PYTHON = SpecifierSet(">=3.12,<3.14")
_CONSERVERS = {"redis": "==4.6.0", "tenacity": ">=8.2.3", "vcon": ">=0.9.2"}

# Of what supabase brings, the one that needs another version of a package than the conserver's lock
# file has (websockets).
_DELICATE = "realtime"


def examine() -> Generator[Finding, None, bool]:
    """Compare versions; return whether all that is needed can be loaded."""
    python = ".".join(map(str, sys.version_info[:3]))
    if _CONSERVERS_PYTHON.contains(python):
        yield ok("python", python)
    else:
        text = f"{python}; the conserver is made for {_CONSERVERS_PYTHON}"
        yield warning("python", text, "Use Python 3.12 or 3.13 where the conserver runs.")
    yield from _needed(_OURS, "this package")
    yield from _needed(_DELICATE, "supabase's realtime")
    for name, pin in _CONSERVERS.items():
        version = metadata.version(name) if _is_there(name) else None
        if version and not SpecifierSet(pin).contains(version, prereleases=True):
            yield warning(
                f"package {name}",
                f"{version}; the conserver pins {pin}, and may not work with it",
                f"In the conserver's environment: pip install '{name}{pin}'. Elsewhere this "
                "version is fine.",
            )
        elif version:
            yield ok(f"package {name}", f"{version}; the conserver's pin is {pin}")
    return (yield from _loads())


def _needed(package: str, whose: str) -> Generator[Finding]:
    """Look at what a package says that it needs."""
    if not _is_there(package):
        return
    for line in metadata.requires(package) or ():
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = metadata.version(requirement.name) if _is_there(requirement.name) else None
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            need = f"{requirement.name}{requirement.specifier}"
            text = f"{found or 'is missing'}; {whose} needs {need}"
            make = warning if found and package != _OURS else broken
            yield make(f"package {requirement.name}", text, f"pip install '{need}'.")


def _loads() -> Generator[Finding, None, bool]:
    """Load what the storage loads at its first use."""
    usable = True
    for module in ("httpcore", "supabase", "redis"):
        try:
            import_module(module)
        except ImportError as error:
            usable = False
            fix = f"Install this package anew: pip install --force-reinstall {_OURS}."
            yield broken(f"package {module}", f"can't be loaded: {error}", fix)
    return usable


def _is_there(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
