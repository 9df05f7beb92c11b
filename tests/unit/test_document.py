"""Reading a vCon: what is taken, what is refused, and the path that says where."""

import copy
import json
import uuid
from collections import OrderedDict
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
import vcon as vcon_library
from hypothesis import given

from conserver_supabase_storage import InvalidVconError
from conserver_supabase_storage.document import canonical_uuid, dumps, loads, read, uuid_of

from ..vcons import Json, as_text, assert_same, small_vcon, uuid_in, vcons

UUID = "01928cb4-1c5f-8c4a-b5f0-0a1b2c3d4e5f"
OTHER = "01928cb4-1c5f-8c4a-b5f0-0a1b2c3d4e60"


@given(vcons)
def test_every_vcon_is_taken_as_dict_text_and_bytes(document: Json) -> None:
    before = copy.deepcopy(document)
    assert_same(read(document), before)
    assert_same(document, before)
    text = json.dumps(document)
    assert read(text) == document
    assert read(json.dumps(document, ensure_ascii=False).encode()) == document
    assert json.loads(dumps(read(text))) == document
    assert uuid_of(document) == uuid_in(document).lower()


def test_a_library_vcon_is_taken() -> None:
    vcon = vcon_library.Vcon.build_new()
    assert_same(read(vcon), vcon.to_dict())


def test_dicts_and_lists_by_inheritance_are_taken() -> None:
    assert uuid_of(read(OrderedDict(uuid=UUID, parties=[OrderedDict(name="x")]))) == UUID


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (None, "null"),
        ([], "a list"),
        (5, "a number"),
        (True, "a boolean"),
        ("[]", "a list"),
        ("null", "null"),
        ('"text"', "a string"),
        (object(), "object"),
        (MappingProxyType({}), "mappingproxy"),
    ],
)
def test_what_is_no_object(given: object, kind: str) -> None:
    with pytest.raises(InvalidVconError, match=f"a vCon is a JSON object, not .*{kind}") as refused:
        read(given)
    assert refused.value.path == ""


DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]
CIRCLE: dict[str, Any] = {}
CIRCLE["x"] = CIRCLE


@pytest.mark.parametrize(
    ("members", "path", "says"),
    [
        ({"parties": None}, "parties", "must be a list, not null"),
        ({"parties": {}}, "parties", "must be a list, not an object"),
        ({"parties": "x"}, "parties", "must be a list, not a string"),
        ({"parties": [1]}, "parties[0]", "must be an object, not a number"),
        ({"dialog": {}}, "dialog", "must be a list"),
        ({"dialog": [{}, None]}, "dialog[1]", "must be an object, not null"),
        ({"analysis": "x"}, "analysis", "must be a list"),
        ({"attachments": [[]]}, "attachments[0]", "must be an object, not a list"),
        ({"x": float("nan")}, "x", "no finite number"),
        ({"x": {"y": [0, float("inf")]}}, "x.y[1]", "no finite number"),
        ({"x": Decimal("nan")}, "x", "no finite number"),
        ({"x": Decimal("1e400")}, "x", "no finite number"),
        ({"x": 10**4_400}, "x", "4,300 digits"),
        ({"x": -(10**5_000)}, "x", "4,300 digits"),
        ({"subject": "a\0b"}, "subject", r"U\+0000"),
        ({"x": {"a\0": 1}}, r"x['a\x00']", r"U\+0000"),
        ({"dialog": [{"body": "\ud83d"}]}, "dialog[0].body", "surrogate"),
        ({"x": {"\udc00": 1}}, r"x['\udc00']", "surrogate"),
        ({"x": {"a b": [{"c": "\0"}]}}, "x['a b'][0].c", r"U\+0000"),
        ({"x": b"bytes"}, "x", "is a Python bytes, which JSON does not have"),
        ({"x": (1, 2)}, "x", "is a Python tuple"),
        ({"x": {1, 2}}, "x", "is a Python set"),
        ({"x": object()}, "x", "is a Python object"),
        ({"x": {5: 1}}, "x", "has the member name 5, which is no string"),
        ({5: 1}, "", "has the member name 5"),
        ({"x": DEEP}, "", "nested too deeply"),
        ({"x": CIRCLE}, "", "nested too deeply"),
    ],
)
def test_what_would_not_come_back_is_refused_with_its_path(
    members: dict[Any, Any], path: str, says: str
) -> None:
    with pytest.raises(InvalidVconError, match=says) as refused:
        read({"uuid": UUID} | members)
    assert refused.value.path == path
    assert str(refused.value).startswith(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON: .* at line 1 column 1"),
        ("{", "is not JSON"),
        ('{"a": 1,}', "is not JSON"),
        ('{"a": 01}', "is not JSON"),
        ('{"a": "x\ny"}', "is not JSON"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": [-Infinity]}', "-Infinity is no JSON number"),
        ('{"a": 1, "b": 2, "a": 1}', "the member 'a' stands twice"),
        ('{"x": [{"a": 1, "a": 1}]}', "the member 'a' stands twice"),
        ("[" * 200_000, "nested too deeply"),
        ('{"a": ' + "9" * 5_000 + "}", "4,300 digits"),
        (b"\xff\xfe\xfa", "is not UTF-8"),
        (b'{"a": "\xe9"}', "is not UTF-8 at byte 7"),
        ('{"a": "\\u0000"}', r"U\+0000"),
        ('{"a": "\\ud800"}', "surrogate"),
        ('{"a": 1e400}', "no finite number"),
    ],
)
def test_text_that_is_no_vcon(text: str | bytes, says: str) -> None:
    with pytest.raises(InvalidVconError, match=says):
        read(text)


def test_what_is_refused_is_not_repeated() -> None:
    secret = "what was said"
    for wrong in (f'{{"a": "{secret}" x}}', {"uuid": secret}, {"uuid": UUID, "parties": secret}):
        with pytest.raises(InvalidVconError) as refused:
            uuid_of(read(wrong))
        assert secret not in str(refused.value)


@pytest.mark.parametrize(
    "number",
    ["0.1", "1.0", "1.10", "1e5", "1E+5", "-0.0", "0.12345678901234567890123", "5e-324", "1e-400"],
)
def test_numbers_in_text_keep_their_digits(number: str) -> None:
    document = read(f'{{"uuid":"{UUID}","x":[{number}]}}')
    [again] = json.loads(dumps(document), parse_float=Decimal)["x"]
    assert str(again) == str(Decimal(number))
    assert json.loads(dumps(document)) == json.loads(f'{{"uuid":"{UUID}","x":[{number}]}}')


def test_decimals_in_a_dict_keep_their_digits() -> None:
    document = read({"uuid": UUID, "x": Decimal("0.12345678901234567890123"), "y": "\u2028é"})
    assert json.loads(dumps(document), parse_float=Decimal) == document


def test_integers_of_any_usual_size_are_written_whole() -> None:
    document = {"uuid": UUID, "x": [2**53 + 1, 2**64, -(10**4_000)]}
    assert json.loads(dumps(read(document))) == document


@pytest.mark.parametrize("beside", ["", "x" * 3_000_000, [1] * 600_000], ids=["", "body", "list"])
@pytest.mark.parametrize(
    "number", [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**30, 1e30, 1.5]
)
def test_numbers_are_read_as_they_are_beside_whatever_is_there(number: float, beside: Any) -> None:
    deep: Any = number
    for _ in range(400):
        deep = [deep]
    for document in ({"x": [number], "y": beside}, {"y": beside, "x": {"x": deep}}):
        assert_same(loads(dumps(document)), document)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"uuid": UUID.upper()}, UUID),
        ({"signatures": [{"header": {"uuid": UUID}}], "payload": ""}, UUID),
        ({"signatures": [{}, 5, {"header": 5}, {"header": {"uuid": UUID}}]}, UUID),
        ({"signatures": [{"header": {"uuid": UUID}}, {"header": {"uuid": UUID.upper()}}]}, UUID),
        ({"unprotected": {"uuid": UUID}, "ciphertext": ""}, UUID),
        ({"uuid": UUID, "signatures": [{"header": {"uuid": OTHER}}]}, UUID),
    ],
)
def test_the_uuid_is_found_in_every_form(document: Json, expected: str) -> None:
    assert uuid_of(document) == expected


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({}, "uuid"),
        ({"uuid": None}, "uuid"),
        ({"uuid": ""}, "uuid"),
        ({"uuid": 5}, "uuid"),
        ({"uuid": f"{{{UUID}}}"}, "uuid"),
        ({"uuid": f"urn:uuid:{UUID}"}, "uuid"),
        ({"uuid": UUID.replace("-", "")}, "uuid"),
        ({"uuid": f"{UUID}\n"}, "uuid"),
        ({"uuid": f" {UUID}"}, "uuid"),
        ({"uuid": UUID.replace("0", "\u0660")}, "uuid"),
        ({"signatures": None}, "uuid"),
        ({"signatures": [{"header": {}}]}, "uuid"),
        ({"signatures": [{}, {"header": {"uuid": "x"}}]}, "signatures[1].header.uuid"),
        ({"unprotected": {"uuid": None}}, "unprotected.uuid"),
        (
            {"signatures": [{"header": {"uuid": UUID}}, {"header": {"uuid": OTHER}}]},
            "signatures[0].header.uuid and signatures[1].header.uuid",
        ),
    ],
)
def test_a_uuid_that_can_not_be_used_is_refused(document: Json, path: str) -> None:
    with pytest.raises(InvalidVconError) as refused:
        uuid_of(document)
    assert str(refused.value).startswith(path)


def test_a_python_uuid_is_a_uuid() -> None:
    assert canonical_uuid(uuid.UUID(UUID)) == UUID


def test_a_small_vcon_is_of_the_usual_size() -> None:
    assert 4_000 < len(as_text(small_vcon())) < 6_000
