#!/usr/bin/env python
"""Makes the table of options in docs/configuration.md from the options' type.

    python scripts/configuration.py     writes the page anew

mkdocs runs it as a hook, so that the site is made from the type whatever the page says; a test
holds the page to it (tests/docs/test_configuration.py).
"""

import inspect
import re
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

from conserver_supabase_storage import Options
from conserver_supabase_storage.options import _ENVIRONMENT

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "configuration.md"


def made(page: str) -> str:
    """Return the page with what is made from the type and from config.example.yml."""
    for name, content in (("options", table()), ("example", example())):
        page, count = re.subn(
            rf"(?s)(<!-- {name}: made [^>]*-->\n).*?(<!-- {name}: end -->)",
            lambda found, content=content: f"{found[1]}{content}\n{found[2]}",  # type: ignore[misc]
            page,
        )
        if count != 1:
            raise LookupError(f"the page has {count} places for {name}")
    return page


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001
    """Make the page when mkdocs builds the site (its hook of this name)."""
    return made(markdown) if page.file.src_uri == PAGE.name else markdown


def table() -> str:
    """One row for each option: its name, values, default, variables, and the type's own words."""
    whole = Options.model_json_schema()
    shared = {f"#/$defs/{name}": schema for name, schema in whole.get("$defs", {}).items()}
    schema = {
        name: shared.get(found.get("$ref"), {}) | found
        for name, found in whole["properties"].items()
    }
    rows = [
        "| option | values | unit | default | environment variable | what it is |",
        "|---|---|---|---|---|---|",
    ]
    for name, said in described().items():
        field = Options.model_fields[name]
        option = field.alias or name
        variables = ", then ".join(f"`{variable}`" for variable in _ENVIRONMENT.get(name, ()))
        cells = (
            f"`{option}`",
            values(schema[option], field),
            schema[option].get("unit", ""),
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
    """The default as it is written in a config; nothing for none."""
    found = schema.get("default")
    if found is None or found == "":
        return ""
    if isinstance(found, bool):
        return f"`{str(found).lower()}`"
    return f"`{found:g}`" if isinstance(found, float) else f"`{found}`"


def example() -> str:
    """The whole config."""
    return f"```yaml\n{(ROOT / 'config.example.yml').read_text('utf-8')}```"


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(made(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
