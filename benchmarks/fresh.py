"""What is measured in processes of their own: peak memory, and the time of imports.

Run by itself: python -m benchmarks.fresh rss|traced save|get FILE
"""

import gc
import os
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.bench.measure import Case, Must
from conserver_supabase_storage.local import LocalSupabase

from .vcons import make

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"
_MUST = Must(4, 3)
# What the first operation of a process needs: everything but the connections.
_STARTED = (
    "from conserver_supabase_storage import SupabaseStorage;"
    "SupabaseStorage({'url': 'http://localhost', 'key': 'k', 'redis_url': 'redis://localhost'})"
)
_TIMED = "import supabase, time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"


@dataclass
class Peak:
    """How much memory an operation took at its height, the caller's document included.

    Attributes:
        operation: save or get.
        kind: of vCon.
        document: its bytes.
        traced: the most bytes that Python and its extensions had asked for. orjson asks for the
            worst case, of which it uses little.
        rss: the most bytes that were in memory; 0 where the system doesn't tell.
    """

    operation: str
    kind: str
    document: int
    traced: int
    rss: int

    @property
    def ratio(self) -> float:
        """Resident memory (where the system doesn't tell: traced) to the document's bytes."""
        return (self.rss or self.traced) / self.document

    @property
    def must(self) -> Must | None:
        """What it has to keep to."""
        return _MUST if self.kind == "25 MB body" else None

    @property
    def missed(self) -> bool:
        """Whether it doesn't."""
        return self.must is not None and self.ratio > self.must.limit


def peaks(stack: LocalSupabase, kinds: Sequence[str]) -> Iterator[Peak]:
    """Measure saves and gets, each in new processes: by resident memory, and traced."""
    for kind in kinds:
        made = make(kind)
        with tempfile.NamedTemporaryFile() as file:
            file.write(made.body)
            file.flush()
            for operation, what in (("save", file.name), ("get", made.uuid)):
                rss, traced = (
                    int(_run(stack, "-m", "benchmarks.fresh", how, operation, what))
                    for how in ("rss", "traced")
                )
                yield Peak(operation, kind, len(made.body), traced, rss)


def imports(stack: LocalSupabase) -> list[Case]:
    """Return imports in new processes, after that of supabase itself."""
    statements = {
        "import of the package": "import conserver_supabase_storage",
        "import, and a storage made": _STARTED,
    }
    return [
        Case(
            name,
            partial(_TIMED.format, statement),
            lambda code: float(_run(stack, "-c", code)),
            must=Must(0.25, 0.1),
            times_itself=True,
        )
        for name, statement in statements.items()
    ]


def _run(stack: LocalSupabase, *arguments: str) -> str:
    """Run a new Python process, and return what it prints."""
    return subprocess.run(  # noqa: S603 - this Python, and our own arguments
        [sys.executable, *arguments],
        env=os.environ | stack.environment(),  # keys are not for the list of processes
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def _measure(how: str, operation: str, what: str) -> int:
    """Return the most bytes that an operation took, in this process."""
    with SupabaseStorage(
        {"redis_url": None, "read_timeout": 60.0, "total_timeout": 60.0}
    ) as storage:
        warm = make("small")  # loads and connects
        storage.save(warm.vcon)
        storage.get(warm.uuid)
        gc.collect()
        before = _resident("VmRSS")
        if how == "traced":
            tracemalloc.start()
        vcon = orjson.loads(Path(what).read_bytes()) if operation == "save" else None
        tracemalloc.reset_peak()
        if _CLEAR.exists():
            _CLEAR.write_text(_RESET_PEAK)
        if operation == "save":
            storage.save(vcon)
        else:
            found = storage.get(what)  # held until the peak is read
            assert found is not None
        if how == "traced":
            return tracemalloc.get_traced_memory()[1]
        return _resident("VmHWM") - before


def _resident(name: str) -> int:
    """Return a line of Linux' account of this process, in bytes; 0 where there is none."""
    if not _STATUS.exists():
        return 0
    [line] = [line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    print(_measure(*sys.argv[1:]))
