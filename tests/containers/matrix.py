"""Runs the integration tests once for every version of each server (scripts/matrix)."""

import subprocess
import sys
import time
from dataclasses import asdict

from docker import DockerClient

from . import images

SUITE = "tests/integration"


def main(arguments: list[str]) -> int:
    """Run the matrix and print a table; the exit code is 0 if nothing failed."""
    try:
        engine = images.client()
    except images.ImagesError as error:
        print(error, file=sys.stderr)
        return 2
    results: list[tuple[str, str]] = []
    done: set[images.Images] = set()
    failed = False
    for server in ("postgres", "postgrest", "redis"):
        for version in images.matrix(server):
            chosen = images.load(**{server: version})
            image = asdict(chosen)[server]
            name = f"{server} {version} ({image})"
            if chosen in done:
                continue  # the default set again
            done.add(chosen)
            if reason := missing(engine, chosen):
                promised = image in images.promised()
                failed = failed or promised
                results.append((name, f"{'FAILED' if promised else 'skipped'}: {reason}"))
                continue
            print(f"\n{name}", flush=True)
            began = time.monotonic()
            command = [sys.executable, "-m", "pytest", "-q", f"--{server}", version, SUITE]
            code = subprocess.run([*command, *arguments], check=False).returncode
            failed = failed or code != 0
            seconds = time.monotonic() - began
            said = "passed" if code == 0 else f"FAILED (pytest's exit code {code})"
            results.append((name, f"{said}, {seconds:.0f} s"))
    print()
    for name, result in results:
        print(f"{name}: {result}")
    return int(failed)


def missing(engine: DockerClient, chosen: images.Images) -> str | None:
    """Say why an image can be neither found nor pulled; None if all are here."""
    for image in chosen.needed:
        if not images.is_here(engine, image):
            try:
                images.pull(engine, image)
            except images.ImagesError as error:
                return str(error)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
