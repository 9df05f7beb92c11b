"""Search finds what a plain filter over the same vCons finds. Needs the local Supabase."""

import re
from datetime import datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from conserver_supabase_storage import SupabaseStorage

from ..conftest import few_examples
from ..vcons import Json, new_uuid

# Words that stem to themselves and stop nothing, so that a filter needs no dictionary.
WORDS = ["zebra", "quokka", "ibex", "lynx", "gnu"]
TYPES = ["recording", "text", "transfer", "of our own"]
# Of each, the notations of one number.
TELS = [
    ["+12025550143", "(202) 555-0143", "tel:+1-202-555-0143"],
    ["+442079460000", "020 7946 0000"],
]
PIECES = ["a%", "_b", "(c,", "d)", "\\e", "'f", '"g', "*h:", "I", "100"]

phrases = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
subjects = st.lists(st.sampled_from(PIECES + WORDS), max_size=4).map(" ".join)
names = st.lists(st.sampled_from(["Ada", "Ben", "O'Hara", "100%"]), min_size=1, max_size=2)
days = st.integers(1, 9).map(lambda day: f"2026-01-0{day}T12:00:00+00:00")
tags = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(["queue", "a%b"], st.sampled_from(["x", "y:z", ""]))
)


def optional(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional=members)


parties = optional(
    tel=st.sampled_from(TELS).flatmap(st.sampled_from),
    name=names.map(" ".join),
    mailto=st.sampled_from(["ada@example.com", "mailto:BEN@example.com"]),
)
vcons = st.fixed_dictionaries(
    {
        "created_at": days,
        "subject": subjects,
        "parties": st.lists(parties, max_size=2),
        "dialog": st.lists(
            st.builds(
                lambda kind, body: {"type": kind, "body": body, "encoding": "none"},
                st.sampled_from(TYPES),
                phrases,
            ),
            max_size=2,
        ),
        "analysis": st.lists(
            st.builds(
                lambda kind, vendor, body: {
                    "type": kind,
                    "vendor": vendor,
                    "body": body,
                    "encoding": "json",
                },
                st.sampled_from(["summary", "sentiment"]),
                st.sampled_from(["one", "two"]),
                st.lists(phrases, max_size=2),
            ),
            max_size=2,
        ),
        "attachments": tags.map(
            lambda found: (
                [{"purpose": "tags", "body": [f"{k}:{v}" for k, v in found.items()]}] * bool(found)
            )
        ),
    }
)
texts = st.builds(
    lambda words, form: {
        "and": " ".join(words),
        "phrase": '"' + " ".join(words) + '"',
        "or": " or ".join(words),
        "not": f"{words[0]} -{words[-1]}",
    }[form],
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=2),
    st.sampled_from(["and", "phrase", "or", "not"]),
)
queries = optional(
    text=texts,
    subject=st.sampled_from([piece[1:] for piece in PIECES] + PIECES + ["", "B", "zeb"]),
    party=parties.filter(bool),
    tags=tags.filter(bool),
    start_date=days,
    end_date=days,
    dialog_type=st.sampled_from(TYPES),
    analysis_type=st.sampled_from(["summary", "sentiment"]),
    vendor=st.sampled_from(["one", "two"]),
    has_attachment=st.booleans() | st.just("tags"),
).filter(lambda query: query.get("start_date", "") <= query.get("end_date", "9"))


def segments(vcon: Json) -> list[list[str]]:
    """The texts of a vCon in which a phrase may stand, as words."""
    found = [vcon["subject"], *(party.get("name", "") for party in vcon["parties"])]
    found += [item["body"] for item in vcon["dialog"]]
    found += [text for item in vcon["analysis"] for text in item["body"]]
    return [re.findall(r"\w+", text.lower()) for text in found]


def matches_text(vcon: Json, text: str) -> bool:
    parts = segments(vcon)
    every = {word for part in parts for word in part}
    words = re.findall(r"\w+", text.replace(" or ", " "))
    if text.startswith('"'):
        return any(part[i : i + len(words)] == words for part in parts for i in range(len(part)))
    if " or " in text:
        return any(word in every for word in words)
    if " -" in text:
        return words[0] in every and words[1] not in every
    return all(word in every for word in words)


def number(tel: str) -> int:
    return next(n for n, notations in enumerate(TELS) if tel in notations)


def is_party(party: Json, asked: Json) -> bool:
    if not asked.keys() <= party.keys():
        return False
    return (
        ("tel" not in asked or number(asked["tel"]) == number(party["tel"]))
        and set(asked.get("name", "").lower().split()) <= set(party.get("name", "").lower().split())
        and asked.get("mailto", "").lower().removeprefix("mailto:")
        in ("", party.get("mailto", "").lower().removeprefix("mailto:"))
    )


def matches(vcon: Json, query: Json) -> bool:
    created = datetime.fromisoformat(vcon["created_at"])
    stored_tags = [tag for item in vcon["attachments"] for tag in item["body"]]
    attached = query.get("has_attachment")
    return (
        ("text" not in query or matches_text(vcon, query["text"]))
        and query.get("subject", "").lower() in vcon["subject"].lower()
        and ("party" not in query or any(is_party(p, query["party"]) for p in vcon["parties"]))
        and all(f"{name}:{value}" in stored_tags for name, value in query.get("tags", {}).items())
        and ("start_date" not in query or created >= datetime.fromisoformat(query["start_date"]))
        and ("end_date" not in query or created <= datetime.fromisoformat(query["end_date"]))
        and (
            "dialog_type" not in query
            or query["dialog_type"] in [item["type"] for item in vcon["dialog"]]
        )
        and (
            not query.keys() & {"analysis_type", "vendor"}
            or any(
                query.get("analysis_type", item["type"]) == item["type"]
                and query.get("vendor", item["vendor"]) == item["vendor"]
                for item in vcon["analysis"]
            )
        )
        and (attached is None or bool(attached) == bool(vcon["attachments"]))
    )


@few_examples
@given(st.lists(vcons, min_size=1, max_size=6), st.lists(queries, min_size=1, max_size=12))
def test_search_finds_what_a_plain_filter_finds(
    storage: SupabaseStorage, documents: list[Json], asked: list[Json]
) -> None:
    documents = [{"uuid": new_uuid(), **document} for document in documents]
    for document in documents:
        storage.save(document)
    everything = [document["uuid"] for document in documents]
    try:
        for query in asked:
            expected = {vcon["uuid"] for vcon in documents if matches(vcon, query)}
            page = storage.search_page({"uuid": everything, **query})
            assert {hit.uuid for hit in page.hits} == expected, query
            assert page.total == len(expected)
            ordered = [(hit.created_at, hit.uuid) for hit in page.hits]
            assert ordered == sorted(ordered, reverse=True)
            small = list(storage.iter_search({"uuid": everything, **query, "limit": 2}))
            assert [hit.uuid for hit in small] == [hit.uuid for hit in page.hits]
    finally:
        for uuid in everything:
            storage.delete(uuid)


# What a stem is, the dictionary says: the filter above may only use words that are their own.
@given(st.sampled_from(WORDS))
@settings(max_examples=len(WORDS))
def test_the_words_are_their_own_stems(storage: SupabaseStorage, word: str) -> None:
    document = {"uuid": new_uuid(), "parties": [], "subject": word}
    storage.save(document)
    assert storage.search({"uuid": document["uuid"], "text": word}) == [document]
    storage.delete(str(document["uuid"]))
