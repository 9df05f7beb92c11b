"""The answer of vcon_storage_doctor_v1. Pure."""

from collections.abc import Iterable

from pydantic import BaseModel

# The column by which the rows of a table are told apart; parts have their vCon's uuid beside it.
PARTS = {
    "vcons": "uuid",
    "parties": "party_index",
    "dialog": "dialog_index",
    "analysis": "analysis_index",
    "attachments": "attachment_index",
}
# A test compares these with what the migrations make.
TABLES = (
    *PARTS,
    "vcon_cache_state",
    "vcon_cache_doubts",
    "vcon_cache_edits",
    "vcon_cache_home",
    "vcon_edited",
    "vcon_tombstones",
    "vcon_search",
    "vcon_search_state",
    "vcon_search_pending",
)
# Made only where pgvector is.
VECTORS = "vcon_vectors"


class Table(BaseModel):
    """A table of ours.

    Attributes:
        name: without its schema.
        rls: whether row-level security is on.
        lacks: what the key's role may not do with it.
        open_to: which of anon and authenticated may do anything with it.
        policies_for: to which of these a policy applies.
        unique: the columns of each unique index, in the order of their names, with commas.
        vacuumed: whether autovacuum is not switched off for it.
        rows: how many it has, as far as statistics know.
        dead: how many rows of it wait to be vacuumed.
    """

    name: str
    rls: bool
    lacks: list[str]
    open_to: list[str]
    policies_for: list[str]
    unique: list[str]
    vacuumed: bool
    rows: int
    dead: int


class Function(BaseModel):
    """A function of ours: whether the key's role may call it, and who else may."""

    name: str
    mine: bool
    trigger: bool
    definer: bool
    open_to: list[str]


class Trigger(BaseModel):
    """A trigger of ours."""

    table: str
    name: str
    on: bool


class Answer(BaseModel):
    """How a database is set up; None where its rights don't let it say.

    Attributes:
        schema_name: the schema of our tables.
        role: the key's.
        bypasses_rls: whether row-level security does not apply to it.
        server: the version of Postgres, as a number (180004).
        replica: whether it is a read replica.
        read_only: whether transactions write only if they say so.
        statement_timeout: in milliseconds; 0 for none.
        now: its clock, in seconds since 1970.
        version: the newest migration that it has.
        off: whether a process keeps all others from using their caches.
        search_complete: whether search knows all vCons that were there before it.
        search_pending: how many saved vCons search does not know yet; 10,001 for more.
        tenant_has_vcons: whether there is a vCon of the tenant.
        any_vcons: whether there is any.
        autovacuum: whether it is on.
        extensions: those of ours that can be had, with the version that is enabled, if any.
        substring_index: whether pg_trgm serves searches.
        embeddings: whether pgvector keeps embeddings.
        other_program: whether another program made the tables.
        tables: by their names.
        functions: all of ours.
        triggers: all of ours.
    """

    schema_name: str
    role: str
    bypasses_rls: bool
    server: int
    replica: bool
    read_only: bool
    statement_timeout: float
    now: float
    version: str | None
    off: bool | None
    search_complete: bool | None
    search_pending: int | None
    tenant_has_vcons: bool | None
    any_vcons: bool | None
    autovacuum: bool
    extensions: dict[str, str | None]
    substring_index: bool
    embeddings: bool
    other_program: bool
    tables: list[Table]
    functions: list[Function]
    triggers: list[Trigger]

    @property
    def ours(self) -> list[Table]:
        """Our tables, as far as they are there."""
        by_name = {table.name: table for table in self.tables}
        return [by_name[name] for name in (*TABLES, VECTORS) if name in by_name]

    def named(self, names: Iterable[str]) -> str:
        """Name tables or functions as SQL does."""
        return ", ".join(f"{self.schema_name}.{name}" for name in names)

    def grant(self, rights: str, names: Iterable[str]) -> str:
        """Return the SQL that gives the key's role rights."""
        return f"GRANT {rights} {self.named(names)} TO {self.role}"


def some(names: Iterable[str]) -> str:
    """Name a few, so that a line stays one."""
    known = list(names)
    shown = ", ".join(known[:3])
    return shown if len(known) <= 3 else f"{shown} and {len(known) - 3} more"
