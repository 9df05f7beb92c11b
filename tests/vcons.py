"""vCons for tests: the written set, a small typical one, and a strategy for wild ones."""

import base64
import json
import uuid
from pathlib import Path
from typing import Any

import simplejson
from hypothesis import strategies as st

type Json = dict[str, Any]

DATA = Path(__file__).parent / "data"


def new_uuid() -> str:
    return str(uuid.uuid4())


def written_set() -> list[Path]:
    """The files of the written set, one per section of the draft."""
    return sorted(DATA.glob("*.vcon"))


def load(path: Path) -> Json:
    document: Json = json.loads(path.read_text("utf-8"))
    return document


def as_text(value: object) -> str:
    """Write a value so that 1, 1.0 and true, 0.0 and -0.0, and two orders of members differ."""
    return simplejson.dumps(value, use_decimal=True)


def assert_same(found: object, expected: object) -> None:
    """Compare more strictly than ``==`` does: types, signs of zero and the order of members too."""
    assert found == expected
    assert as_text(found) == as_text(expected)


def small_vcon(vcon_uuid: str | None = None, **members: Any) -> Json:
    """A vCon of about 5 KB, as a call centre makes them."""
    transcript = [
        {"speaker": n % 2, "start": 2.5 * n, "text": f"Sentence {n} of what the two of them said."}
        for n in range(12)
    ]
    audio = base64.urlsafe_b64encode(bytes(range(256)) * 6).decode().rstrip("=")
    return {
        "vcon": "0.4.0",
        "uuid": vcon_uuid or new_uuid(),
        "created_at": "2026-03-01T09:30:00.125Z",
        "subject": "Question about an invoice",
        "parties": [
            {"tel": "+12025550143", "name": "Ada Example", "role": "customer"},
            {"mailto": "desk@example.com", "name": "Ben Example", "role": "agent"},
        ],
        "dialog": [
            {
                "type": "recording",
                "start": "2026-03-01T09:30:00.125Z",
                "duration": 61.25,
                "parties": [0, 1],
                "mediatype": "audio/x-wav",
                "filename": "call.wav",
                "body": audio,
                "encoding": "base64url",
            },
            *(
                {
                    "type": "text",
                    "start": f"2026-03-01T09:3{n}:00+00:00",
                    "parties": n % 2,
                    "mediatype": "text/plain",
                    "body": f"Message {n}: " + "thank you, that helps a lot. " * 5,
                    "encoding": "none",
                }
                for n in range(1, 4)
            ),
        ],
        "analysis": [
            {
                "type": "transcript",
                "dialog": 0,
                "vendor": "example",
                "product": "listener",
                "schema": "2.1",
                "body": transcript,
                "encoding": "json",
            },
            {
                "type": "summary",
                "dialog": [0, 1, 2, 3],
                "vendor": "example",
                "body": "The invoice was explained. " * 10,
                "encoding": "none",
            },
        ],
        "attachments": [
            {"purpose": "tags", "body": ["queue:billing", "language:en"], "encoding": "json"}
        ],
        **members,
    }


# Any JSON value that can be stored: every Unicode character but U+0000 and surrogates, integers
# beyond 64 bits, floats of every size.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
numbers = st.one_of(
    st.integers(-3, 12),
    st.integers(-(2**200), 2**200),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([2**53 + 1, 2**63, -(2**64), -0.0, 1e300, 5e-324, 1e23, 0.1, 1.0, 1e16]),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=6,
)

times = st.one_of(
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.sampled_from(
        [
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00.123456789+05:45",
            "2026-01-01T00:00:00-23:59",
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59.999999-14:00",
            "2026-02-30T00:00:00Z",
            "2026-01-01 00:00",
            "2026-01-01",
            "yesterday",
            "",
        ]
    ),
)
indices = st.recursive(st.integers(-2, 5), lambda inner: st.lists(inner, max_size=3), max_leaves=5)
objects = st.dictionaries(texts, values, max_size=3)
uuids = st.uuids().map(str) | st.uuids().map(lambda value: str(value).upper())
hashes = st.sampled_from(["sha512-abc", ["sha512-abc", "sha256-def"], []])
bodies = st.one_of(texts, st.sampled_from(["", {}, [], None, "null", "{}", '"', "[1]"]), values)
encodings = st.sampled_from(["base64url", "json", "none", "", "base64"])

_FILE = {
    "mediatype": texts,
    "mimetype": texts,
    "filename": texts,
    "body": bodies,
    "encoding": encodings,
    "url": texts,
    "content_hash": hashes,
    "meta": objects,
    "metadata": objects,
}
_PARTY = {
    **dict.fromkeys(("tel", "sip", "stir", "mailto", "name", "did", "validation"), texts),
    **dict.fromkeys(("gmlpos", "timezone", "role", "data_subject_id"), texts),
    "uuid": uuids | texts,
    "jcard": st.lists(values, max_size=2),
    "civicaddress": objects,
    "meta": objects,
}
_DIALOG = {
    **_FILE,
    "type": st.sampled_from(["recording", "text", "transfer", "incomplete", "video", ""]),
    "start": times,
    "duration": numbers,
    "parties": indices,
    "originator": st.integers(0, 3),
    "disposition": st.sampled_from(["no-answer", "busy", "anything"]),
    "party_history": st.lists(
        st.fixed_dictionaries({"party": indices, "time": times, "event": texts}), max_size=2
    ),
    "session_id": st.one_of(texts, objects, st.lists(objects, max_size=2)),
    "application": texts,
    "message_id": texts,
    **dict.fromkeys(("transferee", "transferor"), st.integers(0, 3)),
    **dict.fromkeys(("transfer_target", "target_dialog", "original", "consultation"), indices),
    "size_bytes": numbers,
}
_ANALYSIS = {
    **_FILE,
    "type": texts,
    "dialog": indices,
    "vendor": texts,
    "product": texts,
    "schema": texts,
    "created_at": times,
    "confidence": numbers,
}
_ATTACHMENT = {
    **_FILE,
    "type": texts,
    "purpose": st.sampled_from(["tags", "contract"]),
    "start": times,
    "party": st.integers(0, 3),
    "dialog": indices,
}
_HEADER = {
    "vcon": st.sampled_from(["0.0.1", "0.3.0", "0.4.0", "a version that is no version"]),
    "created_at": times,
    "updated_at": times,
    "subject": texts,
    **dict.fromkeys(("extensions", "critical", "must_support"), st.lists(texts, max_size=3)),
    **dict.fromkeys(("redacted", "amended", "appended"), objects),
    "group": st.lists(objects, max_size=2),
}
_LISTS = {"parties": _PARTY, "dialog": _DIALOG, "analysis": _ANALYSIS, "attachments": _ATTACHMENT}

# Extension members are named as anybody likes, also like something that the storage uses itself.
_own_names = st.sampled_from(
    ["as_written", "revision", "columns", "vcon_id", "p_uuid", "body", "id", "digest", "__class__"]
)
_extensions = st.dictionaries(_own_names | texts, values, max_size=2)


def _members(
    known: dict[str, st.SearchStrategy[Any]], *, wild: bool = True
) -> st.SearchStrategy[Json]:
    """Some of the known members, most with a usual value and some with any, and extensions."""
    usual = {name: (value | values if wild else value) for name, value in known.items()}

    @st.composite
    def some(draw: st.DrawFn) -> Json:
        names = draw(st.lists(st.sampled_from(sorted(known)), unique=True, max_size=8))
        drawn = {name: draw(usual[name]) for name in names}
        return draw(_extensions) | drawn

    return some()


parts: dict[str, st.SearchStrategy[Json]] = {
    table: _members(known) for table, known in _LISTS.items()
}


@st.composite
def plain_vcons(draw: st.DrawFn) -> Json:
    """The plain form, with its lists present, empty, null or absent, its members in any order."""
    document = draw(_members(_HEADER))
    for reserved in ("signatures", "unprotected", *_LISTS):
        document.pop(reserved, None)
    document["uuid"] = draw(uuids)
    for table, part in parts.items():
        present = draw(st.sampled_from(["list", "list", "list", "empty", "null", "absent"]))
        if present == "list":
            document[table] = draw(st.lists(part, min_size=1, max_size=3))
        elif present == "empty":
            document[table] = []
        elif present == "null" and table != "parties":
            document[table] = None
    return dict(draw(st.permutations(list(document.items()))))


@st.composite
def signed_vcons(draw: st.DrawFn) -> Json:
    """The signed form: JWS, general JSON serialization."""
    vcon_uuid = draw(uuids)
    signature = st.fixed_dictionaries(
        {"header": st.just({"uuid": vcon_uuid, "alg": "RS256"}), "signature": texts},
        optional={"protected": texts},
    )
    signed = {"payload": draw(texts), "signatures": draw(st.lists(signature, min_size=1))}
    return draw(st.dictionaries(st.just("x5c"), values)) | signed


@st.composite
def encrypted_vcons(draw: st.DrawFn) -> Json:
    """The encrypted form: JWE, general JSON serialization."""
    return {
        "unprotected": {"cty": "application/vcon+json", **draw(objects), "uuid": draw(uuids)},
        "recipients": draw(st.lists(objects, max_size=2)),
        "iv": draw(texts),
        "ciphertext": draw(texts),
        "tag": draw(texts),
    }


# One in ten of each packed form: there is less in them to vary.
vcons = st.integers(0, 9).flatmap(
    lambda n: signed_vcons() if n == 0 else encrypted_vcons() if n == 1 else plain_vcons()
)


def uuid_in(document: Json) -> str:
    """The uuid of a generated vCon, whatever its form."""
    if "signatures" in document:
        return str(document["signatures"][0]["header"]["uuid"])
    if "unprotected" in document:
        return str(document["unprotected"]["uuid"])
    return str(document["uuid"])
