"""The page on options says what the options' type says: UPDATE_DOCS=1 writes it anew."""

import inspect
import os
import re
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

from conserver_supabase_storage import Options
from conserver_supabase_storage.options import _ENVIRONMENT

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"


def table() -> str:
    """One row for each option: its name, values, default, variables, and the type's own words."""
    whole = Options.model_json_schema()
    shared = {f"#/$defs/{name}": schema for name, schema in whole.get("$defs", {}).items()}
    schema = {
        name: shared.get(found.get("$ref"), {}) | found
        for name, found in whole["properties"].items()
    }
    rows = ["| option | values | default | from | what it is |", "|---|---|---|---|---|"]
    for name, said in described().items():
        field = Options.model_fields[name]
        option = field.alias or name
        variables = ", then ".join(f"`{variable}`" for variable in _ENVIRONMENT.get(name, ()))
        cells = (
            f"`{option}`",
            values(schema[option], field),
            default(schema[option]),
            variables,
            said,
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def described() -> dict[str, str]:
    """What the type's docstring says of each option."""
    section = inspect.cleandoc(Options.__doc__ or "").partition("Attributes:\n")[2]
    found = {}
    for entry in re.split(r"\n(?=    \w)", section.rstrip()):
        name, _, said = entry.strip().partition(": ")
        words = " ".join(said.split()).replace("``", "`").rstrip(".")
        found[name] = re.sub(r"^option `\w+`: ", "", words)
    return found


def values(schema: dict[str, Any], field: FieldInfo) -> str:
    """The type and its bounds, which pydantic's schema leaves out behind a validator."""
    (kind,) = [s["type"] for s in schema.get("anyOf", [schema]) if s.get("type") != "null"]
    if kind in {"boolean", "string"}:
        return {"boolean": "true, false", "string": "text"}[kind]
    alias = getattr(field.annotation, "__value__", None)
    found = {
        name: value
        for item in (*field.metadata, *get_args(alias))
        for bound in getattr(item, "metadata", [item])
        for name in ("gt", "ge", "le")
        if (value := getattr(bound, name, None)) is not None
    }
    if "gt" in found:
        return f"{kind}, over {found['gt']:,}, up to {found['le']:,}"
    return f"{kind}, {found['ge']:,} to {found['le']:,}"


def default(schema: dict[str, Any]) -> str:
    found = schema.get("default")
    if found is None or found == "":
        return ""
    if isinstance(found, bool):
        return f"`{str(found).lower()}`"
    return f"{found:,g}" if isinstance(found, float) else f"`{found}`"


def example() -> str:
    return f"```yaml\n{(ROOT / 'config.example.yml').read_text('utf-8')}```"


def test_the_page_is_made_from_the_type() -> None:
    page = wanted = PAGE.read_text("utf-8")
    for name, made in (("options", table()), ("example", example())):
        wanted = re.sub(
            rf"(?s)(<!-- {name}: made [^>]*-->\n).*?(<!-- {name}: end -->)",
            lambda found, made=made: f"{found[1]}{made}\n{found[2]}",  # type: ignore[misc]
            wanted,
        )
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(wanted, "utf-8")
        return
    assert page == wanted, "renew it by UPDATE_DOCS=1 (docs/contributing.md)"


def test_every_option_is_described() -> None:
    assert set(described()) == set(Options.model_fields)
