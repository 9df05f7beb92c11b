"""What the workers counted, each in files of its own in PROMETHEUS_MULTIPROC_DIR."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from ..errors import ConfigurationError
from ..telemetry.prometheus import VARIABLE

_LIVE_GAUGE = re.compile(r"gauge_live[a-z]*_(\d+)\.db")


class WorkersCollector(Collector):
    """What all processes that share a directory counted, added up.

    Args:
        folder: that directory.
        forget_dead: whether gauges of processes that are gone are removed. Only where the processes
            have their ids in the same namespace as this one.

    Raises:
        ConfigurationError: there is no such directory.
    """

    def __init__(self, folder: str, *, forget_dead: bool) -> None:
        if not Path(folder).is_dir():
            raise ConfigurationError(f"{VARIABLE} is {folder!r}, which is no directory")
        self._folder = folder
        self._forget_dead = forget_dead
        self._files = MultiProcessCollector(None, path=folder)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """Read the files as they are now."""
        if self._forget_dead:
            for pid in _pids(self._folder):
                if not _runs(pid):
                    mark_process_dead(pid, self._folder)  # type: ignore[no-untyped-call]
        metrics: Iterable[Metric] = self._files.collect()  # type: ignore[no-untyped-call]
        return metrics


def _pids(folder: str) -> set[int]:
    found = (_LIVE_GAUGE.fullmatch(path.name) for path in Path(folder).iterdir())
    return {int(match[1]) for match in found if match}


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True
