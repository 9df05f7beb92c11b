"""An interrupt, such as Ctrl-C, may come between a command to Redis and its reply."""

from typing import Any

import pytest
from redis.connection import Connection

from conserver_supabase_storage import SupabaseStorage

from ..home import Supabase
from ..vcons import new_uuid
from .parties import eventually


class Interrupt(BaseException):
    pass


@pytest.mark.parametrize("memory", [0, 1_000_000], ids=["", "in-process"])
def test_the_reply_of_an_interrupted_command_is_not_taken_for_the_next(
    supabase: Supabase, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    options: dict[str, Any] = {
        "rest_url": supabase.rest_url,
        "key": supabase.service_role_key,
        "redis_url": supabase.redis_url,
        "memory_bytes": memory,
    }
    one: dict[str, Any] = {"uuid": new_uuid(), "parties": []}
    other: dict[str, Any] = {"uuid": new_uuid(), "parties": []}
    read_response = Connection.read_response

    def interrupted(connection: Connection, *_: Any, **__: Any) -> Any:
        eventually(lambda: connection.can_read(timeout=0.1), 5)  # the reply is there, and stays
        monkeypatch.setattr(Connection, "read_response", read_response)
        raise Interrupt

    with SupabaseStorage(options) as storage:
        for document in (one, other):
            storage.save(document)
            assert storage.get(document["uuid"]) == document
        hits = storage.stats()["hit"]
        monkeypatch.setattr(Connection, "read_response", interrupted)
        with pytest.raises(Interrupt):
            storage.get(one["uuid"])
        for document in (other, one, other):
            assert storage.get(document["uuid"]) == document
        assert storage.stats()["hit"] == hits + 3
