"""The flags by which commands choose vCons: those of a `Query` that say what must match."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InvalidQueryError

if TYPE_CHECKING:
    from ..query import Query

_PANEL = "Criteria (all that are given must match; docs/search.md)"


def _flag(*names: str, metavar: str = "TEXT", text: str) -> Any:
    return typer.Option(*names, metavar=metavar, help=text, rich_help_panel=_PANEL)


def _fields(
    text: Annotated[
        str | None,
        _flag(text='Words in subject, names and bodies: late invoice, "a phrase", or, -without.'),
    ] = None,
    language: Annotated[
        str | None, _flag(metavar="NAME", text="The language of --text, such as english.")
    ] = None,
    subject: Annotated[str | None, _flag(text="A part of the subject.")] = None,
    party: Annotated[
        str | None, _flag(text="A party with this name, number, mail address or uuid.")
    ] = None,
    party_name: Annotated[str | None, _flag(text="One party with this name,")] = None,
    party_tel: Annotated[str | None, _flag(text="this number,")] = None,
    party_mailto: Annotated[str | None, _flag(text="this mail address,")] = None,
    party_uuid: Annotated[str | None, _flag(text="and this uuid.")] = None,
    tag: Annotated[
        list[str] | None,
        _flag(metavar="NAME[:VALUE]", text="A tag; without a value, any. Repeat it for more."),
    ] = None,
    start_date: Annotated[
        str | None,
        _flag(metavar="TIME", text="Created then or later: 2026-01-31, 2026-01-31T12:00:00Z."),
    ] = None,
    end_date: Annotated[
        str | None, _flag(metavar="TIME", text="Created then or earlier; a date is that whole day.")
    ] = None,
    updated_since: Annotated[str | None, _flag(metavar="TIME", text="Saved then or later.")] = None,
    dialog_type: Annotated[
        str | None, _flag(metavar="TYPE", text="A dialog of this type, such as recording.")
    ] = None,
    analysis_type: Annotated[
        str | None, _flag(metavar="TYPE", text="An analysis of this type,")
    ] = None,
    vendor: Annotated[str | None, _flag(metavar="NAME", text="and by this vendor.")] = None,
    has_attachment: Annotated[
        bool | None,
        _flag("--has-attachment/--no-attachment", metavar="", text="Any attachment, or none."),
    ] = None,
    attachment: Annotated[
        str | None, _flag(metavar="PURPOSE", text="An attachment of this purpose (or type).")
    ] = None,
    uuid: Annotated[
        list[str] | None, _flag(metavar="UUID", text="This vCon. Repeat it for more.")
    ] = None,
    tenant: Annotated[
        str | None,
        _flag(metavar="NAME", text="This tenant's, where the storage has no option tenant."),
    ] = None,
) -> dict[str, Any]:
    """Turn the flags into fields of a query, without those that were not given."""
    one_party = {"name": party_name, "tel": party_tel, "mailto": party_mailto, "uuid": party_uuid}
    one_party = {name: value for name, value in one_party.items() if value is not None}
    if party is not None and one_party:
        raise typer.BadParameter("--party and --party-... exclude each other")
    if attachment is not None and has_attachment is not None:
        raise typer.BadParameter("--attachment and --has-attachment exclude each other")
    tags = {
        name: value if colon else None
        for name, colon, value in (given.partition(":") for given in tag or ())
    }
    fields = {
        "text": text,
        "language": language,
        "subject": subject,
        "party": party if party is not None else one_party or None,
        "tags": tags or None,
        "start_date": start_date,
        "end_date": end_date,
        "updated_since": updated_since,
        "dialog_type": dialog_type,
        "analysis_type": analysis_type,
        "vendor": vendor,
        "has_attachment": attachment if attachment is not None else has_attachment,
        "uuid": uuid or None,
        "tenant": tenant,
    }
    return {name: value for name, value in fields.items() if value is not None}


def with_criteria(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags, in place of its parameter ``criteria``.

    The command is called with ``criteria``, a dict with the fields of a `Query` that were given;
    what else a query has (``limit``, ``order``, ``include``) is the command's own to add::

        @with_criteria
        def search(criteria: dict[str, Any], config: Config = None) -> None:
            query = query_of(criteria, limit=20)
    """
    flags = inspect.signature(_fields).parameters
    own = [
        value
        for value in inspect.signature(command).parameters.values()
        if value.name != "criteria"
    ]

    @wraps(command)
    def run(**given: Any) -> None:
        criteria = _fields(**{name: given.pop(name) for name in flags})
        command(criteria=criteria, **given)

    parameters = [
        value.replace(kind=inspect.Parameter.KEYWORD_ONLY) for value in (*own, *flags.values())
    ]
    # Typer reads both.
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {value.name: value.annotation for value in parameters}
    return run


def query_of(criteria: dict[str, Any], **more: Any) -> "Query":
    """Check criteria and what a command adds to them.

    Raises:
        typer.BadParameter: a value is impossible; the command ends with 2.
    """
    from ..query import Query  # noqa: PLC0415  not for the other commands

    try:
        return Query.parse(criteria | more)
    except InvalidQueryError as error:
        raise typer.BadParameter(str(error)) from None
