"""Saves what sources yield, a chunk at a time, and knows what is there already."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..document import Document, read, uuid_of
from ..errors import InvalidVconError, StorageError, UnavailableError
from ..storage import SupabaseStorage
from .found import Found
from .questions import COUNT, Questions

# What one question and one `save_many` are about: so many vCons, or so many bytes.
_BYTES = 8_000_000

# What can come of a vCon, in the order in which it is told.
OUTCOMES = ("saved", "unchanged", "kept", "outdated", "refused")

type Numbered = tuple[int, Found]


@dataclass(frozen=True)
class Refused:
    """What could not be saved, and why."""

    name: str
    uuid: str | None
    error: str


@dataclass
class Taken:
    """What came of a chunk.

    Attributes:
        counts: how many vCons, by outcome.
        refused: those that were refused.
        away: the error of those that could not be saved because Supabase did not answer; then
            nothing of the chunk counts.
    """

    counts: Counter[str] = field(default_factory=Counter)
    refused: list[Refused] = field(default_factory=list)
    away: UnavailableError | None = None

    def refuse(self, name: str, uuid: str | None, error: str) -> None:
        """Note that one was refused."""
        self.refused.append(Refused(name, uuid, error))
        self.counts["refused"] += 1


class Importer:
    """Saves chunks.

    Args:
        storage: where to. It should have no spool: what can't be saved now is better read again.
        questions: to the same database.
        keep_existing: whether a vCon that is there stays as it is, whatever it says.
        dry_run: whether nothing is saved.
    """

    def __init__(
        self,
        storage: SupabaseStorage,
        questions: Questions,
        *,
        keep_existing: bool = False,
        dry_run: bool = False,
    ) -> None:
        self._storage = storage
        self._questions = questions
        self._keep_existing = keep_existing
        self._dry_run = dry_run

    def take(self, chunk: Iterable[Numbered]) -> Taken:
        """Save a chunk.

        Raises:
            RefusedError: the database would refuse any vCon, for example because of the key.
        """
        taken = Taken()
        documents: list[tuple[Found, str, Document]] = []
        for _, found in chunk:
            uuid = None
            if found.outdated:
                taken.counts["outdated"] += 1
            elif found.error:
                taken.refuse(found.name, None, found.error)
            else:
                try:
                    document = read(found.text)
                    uuid = uuid_of(document)
                except InvalidVconError as error:
                    taken.refuse(found.name, uuid, str(error))
                else:
                    documents.append((found, uuid, document))
        try:
            chosen = self._chosen(documents, taken)
        except UnavailableError as error:
            return Taken(away=error)
        self._save(chosen, taken)
        return taken

    def _chosen(
        self, documents: list[tuple[Found, str, Document]], taken: Taken
    ) -> list[tuple[Found, str, Document]]:
        """Return those that are to be saved."""
        asked = list(dict.fromkeys(uuid for _, uuid, _ in documents))
        there = {stored.uuid: stored.digest for stored in self._questions.many(asked)}
        chosen = []
        seen: set[str] = set()
        for found, uuid, document in documents:
            again = uuid in seen  # twice in one chunk: what is there is about to change
            if self._keep_existing and (uuid in there or again):
                taken.counts["kept"] += 1
            elif not again and self._is_there(there.get(uuid), document):
                taken.counts["unchanged"] += 1
            else:
                chosen.append((found, uuid, document))
                seen.add(uuid)
        return chosen

    def _is_there(self, digest: str | None, document: Document) -> bool:
        return digest is not None and digest == self._questions.digest(document)

    def _save(self, chosen: list[tuple[Found, str, Document]], taken: Taken) -> None:
        errors: list[StorageError | None] = [None] * len(chosen)
        if not self._dry_run:
            errors = self._storage.save_many(document for _, _, document in chosen)
        for (found, uuid, _), error in zip(chosen, errors, strict=True):
            if error is None:
                taken.counts["saved"] += 1
            elif isinstance(error, UnavailableError):
                taken.away = taken.away or error
            else:
                taken.refuse(found.name, uuid, str(error))


def chunks(numbered: Iterable[Numbered]) -> Iterator[list[Numbered]]:
    """Put what is found into chunks of a bounded size."""
    chunk: list[Numbered] = []
    size = 0
    for number, found in numbered:
        chunk.append((number, found))
        size += len(found.text)
        if len(chunk) >= COUNT or size >= _BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
