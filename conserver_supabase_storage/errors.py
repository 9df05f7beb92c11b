"""The errors that this package raises.

StorageError
├── ConfigurationError    the options are wrong; nothing was sent anywhere
├── InvalidVconError      what was given is no vCon, or can't be stored exactly; nothing was written
├── InvalidQueryError     a search asks for what can't be; nothing was sent
├── VconNotFoundError     the conserver asked to save a vCon that it does not hold
├── UnavailableError      Supabase did not answer in time; the same call may succeed later
└── RefusedError          Supabase answered and said no; the same call will fail again

Texts name what to do. They never carry a key, a password or what a vCon says.
"""


class StorageError(Exception):
    """The root of the tree: catch this to catch all of them."""


class ConfigurationError(StorageError, ValueError):
    """The options can't be used as they are. The text names each option and what would be right.

    Attributes:
        problems: what is wrong, one by one; the text has them all.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class InvalidVconError(StorageError, ValueError):
    """What was given can't be stored exactly, so nothing was written.

    Attributes:
        path: where in the document, like ``dialog[2].body``; empty for the document itself.
    """

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path


class InvalidQueryError(StorageError, ValueError):
    """A search query names an unknown field or an impossible value. The text says which."""


class VconNotFoundError(StorageError, LookupError):
    """The vCon to save is nowhere: not in the conserver's Redis and not in a storage."""


class UnavailableError(StorageError):
    """Supabase could not be reached, or was too busy, until the operation's deadline.

    A save that ends like this may or may not have been committed. Saving again is safe: the same
    vCon twice is no change.

    Attributes:
        may_have_happened: False if it is certain that nothing was changed.
        away: whether no connection could be made at all, or an answer said that nobody is there.
    """

    def __init__(self, text: str, *, may_have_happened: bool = False, away: bool = False) -> None:
        super().__init__(text)
        self.may_have_happened = may_have_happened
        self.away = away


class RefusedError(StorageError):
    """Supabase answered with an error that trying again does not mend.

    Attributes:
        status: the HTTP status.
        code: PostgREST's (``PGRST202``) or Postgres' (``42501``) code, or None.
    """

    def __init__(self, text: str, *, status: int, code: str | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
