"""Saving, reading and deleting: what is written, what is left alone. Needs the local Supabase."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conserver_supabase_storage import InvalidVconError, RefusedError, SupabaseStorage

from ..conftest import Sql
from ..home import Supabase
from ..vcons import assert_same, new_uuid, small_vcon
from . import database
from .servers import CountingProxy


def revision(psql: Sql, vcon_uuid: str) -> int:
    return int(database.value(psql, "SELECT revision FROM vcons WHERE uuid = %s", vcon_uuid))


def test_saving_the_same_again_changes_nothing(storage: SupabaseStorage, psql: Sql) -> None:
    document = small_vcon()
    storage.save(document)
    before = (database.versions(psql, document["uuid"]), revision(psql, document["uuid"]))
    storage.save(copy.deepcopy(document))
    assert (database.versions(psql, document["uuid"]), revision(psql, document["uuid"])) == before


def test_all_rows_of_a_save_are_of_one_transaction(storage: SupabaseStorage, psql: Sql) -> None:
    document = small_vcon()
    storage.save(document)
    versions = database.versions(psql, document["uuid"])
    assert [len(rows) for rows in versions.values()] == [1, 2, 4, 2, 1]
    assert len({version for rows in versions.values() for version in rows}) == 1


def test_one_changed_dialog_rewrites_its_row_and_the_header(
    storage: SupabaseStorage, psql: Sql
) -> None:
    document = small_vcon()
    storage.save(document)
    before = database.versions(psql, document["uuid"])
    old_revision = revision(psql, document["uuid"])
    document["dialog"][2]["body"] += " One more word."
    storage.save(document)
    after = database.versions(psql, document["uuid"])
    assert after["vcons"] != before["vcons"]
    assert [old == new for old, new in zip(before["dialog"], after["dialog"], strict=True)] == [
        True,
        True,
        False,
        True,
    ]
    assert (after["parties"], after["analysis"], after["attachments"]) == (
        before["parties"],
        before["analysis"],
        before["attachments"],
    )
    assert revision(psql, document["uuid"]) > old_revision
    assert_same(storage.get(document["uuid"]), document)


def test_a_new_decimal_of_equal_value_is_a_change(storage: SupabaseStorage) -> None:
    document = small_vcon()
    document["parties"][0]["x"] = 1
    storage.save(document)
    document["parties"][0]["x"] = 1.0
    storage.save(document)
    assert_same(storage.get(document["uuid"]), document)


@pytest.mark.parametrize("gone", ["some", "all", "null", "absent"])
def test_children_that_went_are_gone(storage: SupabaseStorage, psql: Sql, gone: str) -> None:
    document = small_vcon()
    storage.save(document)
    for part in ("parties", "dialog", "analysis", "attachments"):
        if gone == "some":
            document[part] = document[part][1:]
        elif gone == "all" or part == "parties":
            document[part] = []
        elif gone == "null":
            document[part] = None
        else:
            del document[part]
    storage.save(document)
    counts = [len(rows) for rows in database.versions(psql, document["uuid"]).values()]
    assert counts == ([1, 1, 3, 1, 0] if gone == "some" else [1, 0, 0, 0, 0])
    assert_same(storage.get(document["uuid"]), document)


def test_other_vcons_are_left_alone(storage: SupabaseStorage, psql: Sql) -> None:
    one, other = small_vcon(), small_vcon()
    storage.save(one)
    storage.save(other)
    before = database.versions(psql, other["uuid"])
    storage.save(one | {"parties": [], "dialog": []})
    assert storage.delete(one["uuid"])
    assert database.versions(psql, other["uuid"]) == before
    assert_same(storage.get(other["uuid"]), other)


@pytest.fixture
def broken_attachments(psql: Sql) -> Iterator[None]:
    """Every write to attachments fails, with what was to be written in the error's text."""
    psql.execute(
        "CREATE FUNCTION public.fail_aloud() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no: %', NEW.body USING DETAIL = NEW.as_written; END $$"
    )
    psql.execute(
        "CREATE TRIGGER fail_aloud BEFORE INSERT OR UPDATE ON attachments"
        " FOR EACH ROW EXECUTE FUNCTION public.fail_aloud()"
    )
    yield
    psql.execute("DROP FUNCTION public.fail_aloud CASCADE")


@pytest.mark.parametrize("failure", ["trigger", "constraint"])
def test_a_failure_in_the_middle_leaves_the_old_version_whole(
    storage: SupabaseStorage, psql: Sql, failure: str, request: pytest.FixtureRequest
) -> None:
    document = small_vcon()
    storage.save(document)
    before = database.versions(psql, document["uuid"])
    changed = copy.deepcopy(document)
    changed["parties"][0]["name"] = "Somebody Else"
    changed["dialog"].pop()
    secret = "a secret sentence"
    changed["attachments"][0] = {"body": secret, "purpose": secret, "type": secret}
    if failure == "trigger":
        request.getfixturevalue("broken_attachments")
    else:
        psql.execute(f"ALTER TABLE attachments ADD CHECK (body <> '{secret}') NOT VALID".encode())
    try:
        with pytest.raises(RefusedError) as refused:
            storage.save(changed)
    finally:
        psql.execute("ALTER TABLE attachments DROP CONSTRAINT IF EXISTS attachments_body_check")
    assert "secret" not in f"{refused.value!r} {refused.value}"
    assert database.versions(psql, document["uuid"]) == before
    assert_same(storage.get(document["uuid"]), document)


def test_every_operation_is_one_request(stack: Supabase, options: dict[str, Any]) -> None:
    document = small_vcon()
    with (
        CountingProxy(stack.rest_url) as proxy,
        SupabaseStorage(options | {"rest_url": proxy.url}) as storage,
    ):
        operations: list[Callable[[], object]] = [
            lambda: storage.save(document),
            lambda: storage.save(document),
            lambda: storage.save(document | {"parties": []}),
            lambda: storage.get(document["uuid"]),
            lambda: storage.search({"subject": "invoice", "limit": 3}),
            lambda: storage.delete(document["uuid"]),
            lambda: storage.get(document["uuid"]),
        ]
        for done, operation in enumerate(operations, start=1):
            operation()
            assert proxy.requests == done
        assert proxy.accepted == 1


def test_more_children_than_postgrest_gives_rows_come_back(storage: SupabaseStorage) -> None:
    document = small_vcon()
    document["parties"] = [{"name": f"party {n}"} for n in range(1_500)]
    document["dialog"] = [{"type": "text", "body": f"message {n}"} for n in range(2_100)]
    storage.save(document)
    assert_same(storage.get(document["uuid"]), document)
    assert storage.delete(document["uuid"])


def test_delete_says_whether_it_was_there(storage: SupabaseStorage, psql: Sql) -> None:
    document = small_vcon()
    assert storage.delete(document["uuid"]) is False
    storage.save(document)
    assert storage.delete(document["uuid"].upper()) is True
    assert storage.get(document["uuid"]) is None
    assert not any(database.versions(psql, document["uuid"]).values())
    assert storage.delete(document["uuid"]) is False
    storage.save(document)
    assert_same(storage.get(document["uuid"]), document)


def test_a_later_state_has_a_larger_revision_also_across_a_delete(
    storage: SupabaseStorage, psql: Sql
) -> None:
    document = small_vcon()
    storage.save(document)
    first = revision(psql, document["uuid"])
    storage.delete(document["uuid"])
    storage.save(document)
    assert revision(psql, document["uuid"]) > first


def test_the_uuid_is_one_in_any_case(storage: SupabaseStorage) -> None:
    document = small_vcon()
    storage.save(document)
    storage.save(document | {"uuid": document["uuid"].upper()})
    found = storage.get(document["uuid"])
    assert found is not None
    assert found["uuid"] == document["uuid"].upper()


@pytest.mark.parametrize("operation", ["get", "delete"])
@pytest.mark.parametrize("wrong", ["", "no uuid", "{}", None, 5, f"{new_uuid()}'", "*"])
def test_a_uuid_that_is_none_is_refused(
    storage: SupabaseStorage, operation: str, wrong: Any
) -> None:
    with pytest.raises(InvalidVconError, match="uuid"):
        getattr(storage, operation)(wrong)


def test_save_returns_none(storage: SupabaseStorage) -> None:
    assert storage.save(small_vcon()) is None  # type: ignore[func-returns-value]


def test_every_get_is_a_new_dict(storage: SupabaseStorage, cached_storage: SupabaseStorage) -> None:
    document = small_vcon()
    cached_storage.save(document)
    for store in (storage, cached_storage):
        found = store.get(document["uuid"])
        assert found is not None
        found["parties"][0]["name"] = "changed"
        found["dialog"].clear()
        assert_same(store.get(document["uuid"]), document)
