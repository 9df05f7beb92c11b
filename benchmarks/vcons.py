"""The vCons that are measured, made up; the same ones in every run."""

import base64
import itertools
import random
import uuid
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import orjson

type Json = dict[str, Any]

KINDS = ("small", "200 dialogs", "1 MB text", "25 MB body")

# The seed of everything below: figures of two runs are of the same bytes.
_SEED = 20_260_101
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)
_number = itertools.count()
_WORDS = (
    "the caller asked about an invoice and our agent explained how it was made up; they agreed to "
    "send a corrected one by Friday, with a note on what had changed since the first"
).split()


class Made(NamedTuple):
    """A vCon with a uuid of its own, and its bytes as the floors send and keep them."""

    vcon: Json
    body: bytes

    @property
    def uuid(self) -> str:
        """Its uuid."""
        return str(self.vcon["uuid"])


def make(kind: str) -> Made:
    """Make a new vCon of a kind, created a second after the one before."""
    created = _FIRST + timedelta(seconds=next(_number))
    return made({**_document(kind), "uuid": str(uuid.uuid4()), "created_at": created.isoformat()})


def made(vcon: Json) -> Made:
    """Write a vCon's bytes."""
    return Made(vcon, orjson.dumps(vcon))


def with_one_more(before: Made) -> Made:
    """Return a vCon with one dialog added at the end."""
    return made({**before.vcon, "dialog": [*before.vcon["dialog"], _message(0)]})


@cache
def _document(kind: str) -> Json:
    chance = random.Random(_SEED)  # noqa: S311 - nothing to keep secret
    audio = base64.urlsafe_b64encode(chance.randbytes(1_500)).decode()
    recording = {
        "type": "recording",
        "start": "2026-03-01T09:30:00.125Z",
        "duration": 61.25,
        "parties": [0, 1],
        "mediatype": "audio/x-wav",
        "filename": "call.wav",
        "body": audio,
        "encoding": "base64url",
    }
    dialog = [recording, *(_message(n) for n in range(3))]
    summary = _text(chance, 300)
    if kind == "200 dialogs":
        dialog = [recording, *(_message(n) for n in range(199))]
    elif kind == "1 MB text":
        summary = _text(chance, 1_000_000)
    elif kind == "25 MB body":
        raw = chance.randbytes(25_000_000 * 3 // 4)
        recording["body"] = base64.urlsafe_b64encode(raw).decode()
    return {
        "vcon": "0.4.0",
        "subject": "Question about an invoice",
        "parties": [
            {"tel": "+12025550143", "name": "Ada Example", "role": "customer"},
            {"mailto": "desk@example.com", "name": "Ben Example", "role": "agent"},
        ],
        "dialog": dialog,
        "analysis": [
            {
                "type": "transcript",
                "dialog": 0,
                "vendor": "example",
                "product": "listener",
                "schema": "2.1",
                "body": [
                    {"speaker": n % 2, "start": 2.5 * n, "text": _text(chance, 60)}
                    for n in range(12)
                ],
                "encoding": "json",
            },
            {
                "type": "summary",
                "dialog": [0, 1, 2, 3],
                "vendor": "example",
                "body": summary,
                "encoding": "none",
            },
        ],
        "attachments": [
            {"purpose": "tags", "body": '["queue:billing", "language:en"]', "encoding": "json"}
        ],
    }


def _message(number: int) -> Json:
    return {
        "type": "text",
        "start": f"2026-03-01T{10 + number // 60:02}:{number % 60:02}:00+00:00",
        "parties": number % 2,
        "mediatype": "text/plain",
        "body": f"Message {number}: thank you, that helps; I'll look into it and come back to you.",
        "encoding": "none",
    }


def _text(chance: random.Random, size: int) -> str:
    """Return about so many bytes of text."""
    return " ".join(chance.choices(_WORDS, k=size * 10 // 53))
