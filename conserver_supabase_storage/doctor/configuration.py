"""Whether the options can be used, and which of them will hurt."""

import ipaddress
from collections.abc import Callable, Generator, Mapping
from difflib import get_close_matches
from typing import Any

from ..errors import ConfigurationError
from ..options import Options
from ..urls import mask_url, split
from .finding import Finding, broken, ok, warning

_PAGE = "every option is in docs/configuration.md"


def examine(
    read: Callable[[], Mapping[str, Any] | None],
) -> Generator[Finding, None, Options | None]:
    """Look at the options as they are given; return them checked, or None if they can't be used."""
    try:
        given = read()
    except ConfigurationError as error:
        fix = "Name the conserver's config.yml by --config, and the storage in it by --storage."
        yield broken("configuration", str(error), fix)
        return None
    try:
        options = Options.parse(given)
    except ConfigurationError as error:
        for problem in error.problems:
            yield _of_problem(problem)
        return None
    yield ok("options", f"can be used; {_places(options)}")
    if options.redis_url is None and options.spool_url is None:
        yield warning(
            "spool",
            "there is no Redis in the options: a save made while Supabase is away is an error, and "
            "a conserver does not make it again",
            "Give redis_url, or spool_url for a spool without a cache.",
        )
    where = options.rest_url or options.url or ""
    if where.startswith("http://") and not is_near(split(where).hostname or ""):
        yield warning(
            "encryption",
            f"the key goes to {where} unencrypted",
            "Write https:// in the option url, unless the network between is your own.",
        )
    return options


def is_near(host: str) -> bool:
    """Whether a host is this machine, or by its name or address in a private network."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))


def _places(options: Options) -> str:
    places = [f"Supabase is {options.rest_url or options.url}, schema {options.schema_}"]
    if options.redis_url:
        places.append(f"Redis is {mask_url(options.redis_url.get_secret_value())}")
    if options.spool_url:
        places.append(f"the spool's is {mask_url(options.spool_url.get_secret_value())}")
    return ", ".join(places)


def _of_problem(problem: str) -> Finding:
    name, _, text = problem.partition(": ")
    check = f"option {name}"
    if text.startswith("is no option"):
        known = [field.alias or key for key, field in Options.model_fields.items()]
        close = get_close_matches(name, known, 1)
        meant = f"Did you mean {close[0]}?" if close else "Take it out."
        return broken(check, text.partition(";")[0], f"{meant} E{_PAGE[1:]}.")
    if text.startswith("the environment variable"):
        text, _, fix = text.partition(" (")
        fix = f"{fix[0].upper()}{fix[1:-1]}, for each process that uses the storage."
        return broken(check, text, fix)
    if text.startswith("is missing; "):
        fix = text.removeprefix("is missing; ")
        return broken(check, "is missing", f"{fix[0].upper()}{fix[1:]}.")
    return broken(check, text, f"Correct the option {name}: {_PAGE}.")
