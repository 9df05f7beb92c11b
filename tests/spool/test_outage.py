"""The whole of an outage, short; scripts/outage runs a long one."""

import subprocess
import sys
from pathlib import Path

from .support import environment


def test_an_outage_under_constant_saving() -> None:
    command = [sys.executable, str(Path(__file__).with_name("outage.py")), "--away", "8"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=environment()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    line = done.stdout.splitlines()[-1]
    figures = {name: int(figure) for name, figure in (item.split("=") for item in line.split())}
    assert (figures["lost"], figures["stale"], figures["disorder"]) == (0, 0, 0)
    # It was an outage: saves were spooled, replayed, and refused while there was no Redis either.
    assert figures["spooled"] > 100
    assert figures["replayed"] > 10
    assert figures["failed"] > 0
    assert figures["reads"] > 100
