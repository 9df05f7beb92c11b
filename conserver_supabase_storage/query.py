"""What a search asks for, checked."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from math import isfinite
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from .document import canonical_uuid, dumps
from .errors import InvalidQueryError, InvalidVconError
from .problems import problems

# What pgvector's type holds (its manual, "Vector Type").
_DIMENSIONS = 16_000

type Part = Literal["parties", "dialog", "analysis", "attachments", "bodies"]
type Order = Literal["newest", "oldest", "updated", "rank"]


def _moment(value: object, *, end: bool) -> object:
    """Read a time with an offset; a date alone is that whole day in UTC."""
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
        except ValueError:
            msg = "must be a time such as 2026-01-31T12:00:00Z, or a date"
            raise ValueError(msg) from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time.max if end else time.min, UTC)
    if not isinstance(value, datetime):
        msg = "must be a time (text or datetime) or a date"
        raise ValueError(msg)  # noqa: TRY004  pydantic turns ValueError into a named error
    if value.tzinfo is None:
        msg = "must have an offset, such as 2026-01-31T12:00:00Z or +01:00"
        raise ValueError(msg)
    return value


def _start(value: object) -> object:
    return None if value is None else _moment(value, end=False)


def _end(value: object) -> object:
    return None if value is None else _moment(value, end=True)


def _plain_integer(value: object) -> object:
    if type(value) is not int:
        msg = "must be a whole number"
        raise ValueError(msg)
    return value


def _storable(value: object) -> object:
    if isinstance(value, str) and ("\0" in value or not value.isprintable()):
        try:
            value.encode()
        except UnicodeEncodeError:
            msg = "must be Unicode text"
            raise ValueError(msg) from None
        if "\0" in value:
            msg = "must not hold U+0000"
            raise ValueError(msg)
    return value


def _tag_name(value: str) -> str:
    if ":" in value:
        msg = "a tag's name ends at its first colon"
        raise ValueError(msg)
    return value


def _uuids(value: object) -> object:
    """Read one uuid or several."""
    if value is None or isinstance(value, Mapping):
        return value
    try:
        items = [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]
        return tuple(canonical_uuid(item) for item in items)
    except TypeError:
        msg = "must be a uuid or a list of them"
        raise ValueError(msg) from None
    except InvalidVconError:
        msg = "must be uuids such as 01928cb4-1c5f-8c4a-b5f0-0a1b2c3d4e5f"
        raise ValueError(msg) from None


def _vector(value: object) -> object:
    """Read numbers, also those of a numpy array; refuse what has no direction."""
    try:
        found = tuple(float(number) for number in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        msg = "must be a list of numbers"
        raise ValueError(msg) from None
    if not 1 <= len(found) <= _DIMENSIONS:
        msg = f"must have 1 to {_DIMENSIONS:,} dimensions"
        raise ValueError(msg)
    if not all(isfinite(number) and abs(number) < 3.4e38 for number in found):
        msg = "must be finite numbers that fit in 32 bits"
        raise ValueError(msg)
    if not any(abs(number) > 1e-37 for number in found):
        msg = "must not be all zeros, which point nowhere"
        raise ValueError(msg)
    return found


_Text = Annotated[str, Field(max_length=1000), BeforeValidator(_storable)]
_Word = Annotated[str, Field(min_length=1, max_length=1000), BeforeValidator(_storable)]
_Tag = Annotated[_Text, AfterValidator(_tag_name)]
_Vector = Annotated[tuple[float, ...], BeforeValidator(_vector)]
_Strict = ConfigDict(extra="forbid", frozen=True)


class Party(BaseModel):
    """Who took part: one party that has all that is given."""

    model_config = _Strict

    name: _Word | None = None
    tel: _Word | None = None
    mailto: _Word | None = None
    uuid: _Word | None = None

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.model_dump(exclude_none=True):
            msg = "must have a name, tel, mailto or uuid"
            raise ValueError(msg)
        return self


class Embedding(BaseModel):
    """A vector of the model that made those which were saved."""

    model_config = _Strict

    vector: _Vector
    model: _Word
    part: _Text | None = None


class Query(BaseModel):
    """The criteria of a search; all that are given must match. docs/search.md says how."""

    model_config = _Strict

    text: _Word | None = None
    language: Annotated[str | None, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")] = None
    subject: _Text | None = None
    party: _Word | Party | None = None
    tags: Annotated[dict[_Tag, _Text | None] | None, Field(min_length=1, max_length=20)] = None
    start_date: Annotated[datetime | None, BeforeValidator(_start)] = None
    end_date: Annotated[datetime | None, BeforeValidator(_end)] = None
    dialog_type: _Text | None = None
    analysis_type: _Text | None = None
    vendor: _Text | None = None
    has_attachment: Annotated[bool, Field(strict=True)] | _Word | None = None
    uuid: Annotated[
        tuple[str, ...] | None, BeforeValidator(_uuids), Field(min_length=1, max_length=1000)
    ] = None
    updated_since: Annotated[datetime | None, BeforeValidator(_start)] = None
    tenant: Annotated[str | None, Field(min_length=1, max_length=1000)] = None
    embedding: Embedding | None = None
    order: Order | None = None
    limit: Annotated[int, BeforeValidator(_plain_integer)] = Field(100, ge=1, le=1000)
    include: tuple[Part, ...] | None = None
    total: Annotated[bool, Field(strict=True)] = True

    @classmethod
    def parse(cls, query: "Mapping[str, Any] | Query | None") -> "Query":
        """Check a query.

        Raises:
            InvalidQueryError: a field is unknown or its value impossible.
        """
        if isinstance(query, Query):
            return query
        if query is not None and not isinstance(query, Mapping):
            raise InvalidQueryError(f"a query is a mapping, not {type(query).__name__}")
        try:
            return cls.model_validate(dict(query or {}))
        except ValidationError as error:
            known = f"is no field of a query; known are: {', '.join(cls.model_fields)}"
            patterns = {"language": "must be the name of a text search configuration"}
            raise InvalidQueryError("; ".join(problems(error, known, patterns))) from None

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        if self.start_date and self.end_date and self.start_date > self.end_date:
            msg = "start_date: must not be after end_date"
        elif self.language and self.text is None:
            msg = "language: is that of text, which is not given"
        elif self.order == "rank" and self.text is None and self.embedding is None:
            msg = "order: rank needs text or an embedding"
        elif self.order not in (None, "rank") and self.embedding is not None:
            msg = "order: the nearest embeddings come in the order rank"
        elif self.include == ("bodies",):
            msg = "include: bodies of which parts?"
        else:
            return self
        raise ValueError(msg)

    def criteria(self) -> bytes:
        """Return what is searched by, and in which order, as the search function's JSON text."""
        party = self.party
        attachment = self.has_attachment
        embedding = self.embedding
        order = self.order or ("rank" if embedding else "newest")
        asked = {
            "text": self.text,
            "language": self.language,
            "subject": self.subject,
            "party": party.model_dump(exclude_none=True) if isinstance(party, Party) else None,
            "anybody": party if isinstance(party, str) else None,
            "tags": self.tags,
            "dialog_type": self.dialog_type,
            "analysis_type": self.analysis_type,
            "vendor": self.vendor,
            "attached": attachment if isinstance(attachment, bool) else None,
            "attachment": attachment if isinstance(attachment, str) else None,
            "start": self.start_date and self.start_date.isoformat(),
            "end": self.end_date and self.end_date.isoformat(),
            "since": self.updated_since and self.updated_since.isoformat(),
            "uuids": self.uuid,
            "tenant": self.tenant,
            "vector": embedding and embedding.vector,
            "model": embedding and embedding.model,
            "part": embedding and embedding.part,
            "order": order,
        }
        return dumps({name: value for name, value in asked.items() if value is not None})

    def arguments(
        self, after: Mapping[str, Any] | None = None, *, details: bool = False
    ) -> dict[str, bytes]:
        """Return the search function's arguments, each as JSON text.

        Args:
            after: where the page before ended.
            details: whether hits have what is shown of them: subject, names, snippet; and a total.
        """
        more: dict[str, Any] = {"limit": self.limit, "details": details}
        if details:
            more["total"] = self.total
        if self.include is not None:
            more["include"] = self.include
        if after is not None:
            more["after"] = after
        return {"p_query": b"%b,%b" % (self.criteria()[:-1], dumps(more)[1:])}


def embedding(**fields: object) -> Embedding:
    """Check an embedding that is to be saved.

    Raises:
        InvalidQueryError: it is none that can be searched by.
    """
    try:
        return Embedding.model_validate(fields)
    except ValidationError as error:
        raise InvalidQueryError("; ".join(problems(error, "is no field of it"))) from None
