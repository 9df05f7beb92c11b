"""Save, get, search and delete vCons through the storage, as a conserver does, and show it.

Usage: scripts/demo [FILE.vcon ...]     without files: a few made-up conversations
"""

import importlib
import json
import logging
import os
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import yaml
from redis import Redis
from rich.console import Console
from rich.table import Table

from conserver_supabase_storage import StorageError
from conserver_supabase_storage.document import PARTS, read, uuid_of
from conserver_supabase_storage.local import LocalSupabase, LocalSupabaseError

CONFIG = Path(__file__).parent.parent / "config.example.yml"

console = Console()


class Sample(NamedTuple):
    """A vCon to push through, and what to call it."""

    name: str
    vcon: dict[str, Any]


class Storage:
    """Loads a storage and calls it as the conserver does: by its module, with literal options."""

    def __init__(self, name: str) -> None:
        self.name = name
        config = yaml.safe_load(CONFIG.read_text("utf-8"))["storages"][name]
        self.module: ModuleType = importlib.import_module(config["module"])

    @property
    def options(self) -> dict[str, Any]:
        """The options; the conserver reads its config anew on every call."""
        config = yaml.safe_load(CONFIG.read_text("utf-8"))["storages"][self.name]
        options: dict[str, Any] = config.get("options", self.module.default_options)
        return options


def main(files: list[str]) -> int:
    """Run the demo; return the exit code."""
    samples = [sample for file in files if (sample := load(file))] if files else made_up()
    if not samples:
        console.print("[red]no vCon to show[/red]")
        return 1
    console.print("Starting Postgres, PostgREST and Redis on this machine ...")
    try:
        with LocalSupabase() as stack:
            os.environ |= stack.environment()
            console.print(f"PostgREST answers at {stack.rest_url}, Redis and Postgres beside it.\n")
            return show(samples, stack.redis_url)
    except LocalSupabaseError as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        return 1


def show(samples: list[Sample], redis_url: str) -> int:
    """Push every sample through all operations and print a table of what happened."""
    storage = Storage("supabase")
    # Here the demo plays the conserver, which keeps the vCon it works on under vcon:{uuid}.
    redis = Redis.from_url(redis_url)
    prefix = storage.options["cache_prefix"]
    table = Table(
        *["vCon", "parts", "save", "get (miss)", "get (hit)", "came back", "search", "delete"]
    )
    good = 0
    # The first call of a process also loads the client libraries and connects; keep that out of
    # the figures.
    storage.module.search({"limit": 1}, storage.options)
    for name, vcon in samples:
        module, options = storage.module, storage.options
        try:
            key = identify(vcon)
            redis.set(f"vcon:{key}", json.dumps(vcon))
            saved, _ = timed(module.save, key, options)
            redis.delete(*redis.keys(f"{prefix}*"))
            missed, _ = timed(module.get, key, options)
            hit, found = timed(module.get, key, options)
            query = {"subject": vcon["subject"]} if isinstance(vcon.get("subject"), str) else {}
            searched, hits = timed(module.search, query, options)
            deleted, _ = timed(module.delete, key, options)
        except StorageError as error:
            console.print(f"[red]skipped {name}:[/red] {error}", highlight=False)
            continue
        exact = found == vcon
        good += exact
        table.add_row(
            name,
            " + ".join(str(len(vcon.get(part) or [])) for part in PARTS),
            saved,
            missed,
            hit,
            "[green]exactly[/green]" if exact else "[red]differs[/red]",
            f"{len(hits)} in {searched}",
            deleted,
        )
    console.print(table)
    console.print("parts: parties + dialog + analysis + attachments. All data is thrown away now.")
    return 0 if good and good == table.row_count else 1


def timed(call: Callable[..., Any], *arguments: Any) -> tuple[str, Any]:
    """Call, and return how long it took (as text) and what came back."""
    began = time.perf_counter()
    result = call(*arguments)
    return f"{(time.perf_counter() - began) * 1000:.1f} ms", result


def identify(vcon: object) -> str:
    """Return the uuid under which the storage keeps a vCon."""
    return uuid_of(read(vcon))


def load(file: str) -> Sample | None:
    """Read a vCon file; say what is wrong with one that is none."""
    try:
        vcon = json.loads(Path(file).read_bytes())
        identify(vcon)
    except (OSError, ValueError) as error:
        console.print(f"[red]skipped {file}:[/red] {error}", highlight=False)
        return None
    return Sample(Path(file).name, vcon)


def made_up() -> list[Sample]:
    """Return three conversations of different shapes."""
    agent = {"name": "Ada Agent", "mailto": "ada@example.com", "role": "agent"}
    caller = {"name": "Carl Caller", "tel": "+12025550142"}
    call = {
        "type": "recording",
        "start": "2026-03-02T09:30:00+01:00",
        "duration": 93.4,
        "parties": [0, 1],
        "mediatype": "audio/wav",
        "url": "https://example.com/recordings/1.wav",
        "content_hash": "sha256-n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg",
    }
    chat = [
        {
            "type": "text",
            "start": f"2026-03-02T10:00:{second:02}Z",
            "parties": [second % 2],
            "body": f'line {second} of the chat: 100% ünïcode, "quotes" and all',
            "encoding": "none",
        }
        for second in range(20)
    ]
    summary = {
        "type": "summary",
        "dialog": 0,
        "vendor": "example",
        "body": {"mood": "friendly", "score": 0.97},
        "encoding": "json",
    }
    tags = {"purpose": "tags", "encoding": "json", "body": '["team:support", "reviewed:yes"]'}
    recording = {**call, "body": "UklGR" * 200_000, "encoding": "base64url"}
    del recording["url"], recording["content_hash"]
    return [
        Sample("a call", vcon("Order 4711 is late", [agent, caller], [call], [summary], [tags])),
        Sample("a chat", vcon("Reset of a password", [agent, caller], chat)),
        Sample("1 MB recording", vcon("Voicemail", [caller], [recording])),
    ]


def vcon(
    subject: str,
    parties: list[dict[str, Any]],
    dialog: list[dict[str, Any]],
    analysis: list[dict[str, Any]] | None = None,
    attachments: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return a vCon with a new uuid."""
    return {
        "vcon": "0.4.0",
        "uuid": str(uuid.uuid4()),
        "created_at": "2026-03-02T10:31:00Z",
        "subject": subject,
        "parties": parties,
        "dialog": dialog,
        "analysis": analysis or [],
        "attachments": attachments or [],
    }


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    sys.exit(main(sys.argv[1:]))
