"""What a search asks for, checked."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from .document import dumps
from .errors import InvalidQueryError
from .problems import problems


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


class Query(BaseModel):
    """The criteria of a search; all that are given must match."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: Annotated[str | None, BeforeValidator(_storable)] = Field(None, max_length=1000)
    start_date: Annotated[datetime | None, BeforeValidator(_start)] = None
    end_date: Annotated[datetime | None, BeforeValidator(_end)] = None
    limit: Annotated[int, BeforeValidator(_plain_integer)] = Field(100, ge=1, le=1000)

    @classmethod
    def parse(cls, query: Mapping[str, Any] | None) -> Self:
        """Check a query.

        Raises:
            InvalidQueryError: a field is unknown or its value impossible.
        """
        if query is not None and not isinstance(query, Mapping):
            raise InvalidQueryError(f"a query is a mapping, not {type(query).__name__}")
        try:
            return cls.model_validate(dict(query or {}))
        except ValidationError as error:
            known = f"is no field of a query; known are: {', '.join(cls.model_fields)}"
            raise InvalidQueryError("; ".join(problems(error, known))) from None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start_date and self.end_date and self.start_date > self.end_date:
            msg = "start_date: must not be after end_date"
            raise ValueError(msg)
        return self

    def arguments(self) -> dict[str, bytes]:
        """Return the search function's arguments, each as JSON text."""
        return {
            "p_subject": dumps(self.subject),
            "p_start": dumps(self.start_date.isoformat() if self.start_date else None),
            "p_end": dumps(self.end_date.isoformat() if self.end_date else None),
            "p_limit": dumps(self.limit),
        }
