"""Writes vCons of the storage to files or JSON lines."""

import gzip
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from ..document import dumps
from ..query import Query
from ..storage import SupabaseStorage
from .questions import COUNT, Questions, Walked
from .records import whole_file

# Where a vCon's file is: in folders by its date of creation, in one folder, or as the conserver's
# storages of these names keep it.
type Layout = Literal["by-date", "flat", "file", "s3"]


class Target(Protocol):
    """Where vCons are written to."""

    def has(self, vcon: Walked) -> bool:
        """Whether it has a vCon of this uuid and date."""

    def write(self, vcon: Walked, text: bytes) -> None:
        """Write a vCon."""


class Folder:
    """A file for each vCon, whole or not at all.

    Args:
        root: the folder; made if it is not there.
        layout: where in it.
        compressed: whether each file is gzip.
    """

    def __init__(self, root: Path, layout: Layout = "by-date", *, compressed: bool = False) -> None:
        self._root = root
        self._layout = layout
        self._compressed = compressed

    def has(self, vcon: Walked) -> bool:
        """Whether the file is there, whatever it says."""
        return self._path(vcon).exists()

    def write(self, vcon: Walked, text: bytes) -> None:
        """Write the file, in place of the one that may be there."""
        if self._layout == "s3":
            date = _date(vcon.created_at).encode()
            _write(self._root / "lookup" / f"{vcon.uuid}.txt", date)
        _write(self._path(vcon), gzip.compress(text) if self._compressed else text)

    def _path(self, vcon: Walked) -> Path:
        suffix = "json" if self._layout == "file" else "vcon"
        date = "" if self._layout == "flat" else _date(vcon.created_at)
        return self._root / date / f"{vcon.uuid}.{suffix}{'.gz' if self._compressed else ''}"


class Lines:
    """A line for each vCon.

    Args:
        stream: what to write to.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def has(self, vcon: Walked) -> bool:  # noqa: ARG002 - what it has is not known
        """Return False: nothing is skipped."""
        return False

    def write(self, vcon: Walked, text: bytes) -> None:  # noqa: ARG002 - the text has all of it
        """Write the line."""
        self._stream.write(text + b"\n")


@contextmanager
def lines_to(path: Path) -> Iterator[Lines]:
    """Write a file of JSON lines, whole or not at all; if it ends with ``.gz``, compressed."""
    with whole_file(path) as stream:
        if path.suffix == ".gz":
            with gzip.GzipFile(fileobj=stream, mode="wb") as packed:
                yield Lines(packed)  # type: ignore[arg-type]  # typeshed calls it no IO
        else:
            yield Lines(stream)


class Exporter:
    """Goes through the vCons that match, and writes each as it is when its turn comes.

    Args:
        storage: what to search.
        questions: to the same database.
        criteria: fields of a query; none for all, also those that search does not know yet.

    Attributes:
        complete: False if search does not know all vCons yet, so that some may be missing.
    """

    def __init__(
        self, storage: SupabaseStorage, questions: Questions, criteria: dict[str, Any]
    ) -> None:
        self._storage = storage
        self._questions = questions
        self._criteria = criteria
        self.complete = True

    def count(self) -> int | None:
        """Return how many match; beyond 10,000 it is an estimate."""
        query = Query.parse(self._criteria | {"limit": 1, "include": ()})
        return self._storage.search_page(query).total

    def run(self, target: Target, *, skip_existing: bool) -> Iterator[Counter[str]]:
        """Write them; yield after each page what came of it.

        Counted are those that were ``written``, ``skipped`` since the target has them, and ``gone``
        since they were found.
        """
        for page in self._pages():
            counts: Counter[str] = Counter()
            wanted = {vcon.uuid: vcon for vcon in page if not (skip_existing and target.has(vcon))}
            counts["skipped"] = len(page) - len(wanted)
            for stored in self._questions.many(list(wanted), rows=True):
                document = stored.document()
                vcon = Walked(stored.uuid, document.get("created_at"))
                target.write(vcon, dumps(document))
                counts["written"] += 1
            counts["gone"] = len(wanted) - counts["written"]
            yield counts

    def _pages(self) -> Iterator[list[Walked]]:
        if not self._criteria:
            yield from self._questions.walk()
            return
        # By a time that a save does not change, so that each is met once. What is created
        # meanwhile comes last.
        fields = {"limit": COUNT, "include": (), "order": "oldest", "total": False}
        query = Query.parse(self._criteria | fields)
        cursor = None
        while True:
            page = self._storage.search_page(query, cursor)
            self.complete = self.complete and page.complete
            yield [Walked(hit.uuid, hit.vcon.get("created_at")) for hit in page.hits]
            if (cursor := page.cursor) is None:
                return


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as stream:
        stream.write(data)


def _date(created_at: Any) -> str:
    """Return the folders that the conserver's storages make of a time, or '' where it is none."""
    try:
        moment = datetime.fromisoformat(created_at)
    except (TypeError, ValueError):
        return ""
    return f"{moment.year:04}/{moment.month:02}/{moment.day:02}"
