"""Compares what is stored with what it should be. Each check yields its findings page by page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from ..document import Document, read, uuid_of
from ..errors import InvalidVconError
from . import sources
from .columns import differing_columns
from .comparing import differences
from .found import Found, Source
from .importing import chunks
from .questions import Questions

# Differences of one vCon that are told.
MOST = 20


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        check: which check found it: files, columns or cache.
        uuid: the vCon's, if it has one.
        what: where it differs and how, without anything of its content.
        name: the file, and line, that it was compared with.
    """

    check: str
    uuid: str | None
    what: str
    name: str | None = None


@dataclass
class Page:
    """What a check found among so many vCons."""

    checked: int
    findings: list[Finding] = field(default_factory=list)
    last: str | None = None


def files(what: Sequence[Source], questions: Questions) -> Iterator[Page]:
    """Compare what sources yield with what the database has."""
    for chunk in chunks(sources.read(what)):
        # What the source itself no longer uses is nothing to compare with.
        current = [found for _, found in chunk if not found.outdated]
        yield Page(len(current), list(_compare(current, questions)))


def columns(questions: Questions, after: str | None = None) -> Iterator[Page]:
    """Compare typed columns with the truth beside them, for all vCons by their uuid."""
    for foreign, vcons in questions.columns(after):
        findings = [
            Finding("columns", vcon["uuid"], what)
            for vcon in vcons
            for what in islice(differing_columns(vcon, foreign=foreign), MOST)
        ]
        yield Page(len(vcons), findings, vcons[-1]["uuid"])


def _compare(given: list[Found], questions: Questions) -> Iterator[Finding]:
    expected: dict[str, list[tuple[str, Document]]] = {}
    for found in given:
        if found.error:
            yield Finding("files", None, found.error, found.name)
            continue
        try:
            document = read(found.text)
            expected.setdefault(uuid_of(document), []).append((found.name, document))
        except InvalidVconError as error:
            yield Finding("files", None, f"can't be stored: {error}", found.name)
    for stored in questions.many(list(expected), rows=True):
        document = stored.document()
        for name, one in expected.pop(stored.uuid):
            for what in islice(differences(one, document), MOST):
                yield Finding("files", stored.uuid, what, name)
    for uuid, several in expected.items():
        for name, _ in several:
            yield Finding("files", uuid, "is not stored", name)
