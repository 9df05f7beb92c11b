"""The page on options is what scripts/configuration.py makes from the options' type."""

import runpy
from types import SimpleNamespace

from conserver_supabase_storage import Options

from .pages import ROOT

configuration = SimpleNamespace(**runpy.run_path(str(ROOT / "scripts" / "configuration.py")))


def test_the_page_is_made_from_the_type() -> None:
    page = configuration.PAGE.read_text("utf-8")
    assert page == configuration.made(page), "renew it: python scripts/configuration.py"


def test_the_site_is_made_from_the_type_whatever_the_page_says() -> None:
    page = configuration.PAGE.read_text("utf-8")
    old = page.replace("`cache_ttl` | integer", "`cash_ttl` | integer")
    where = SimpleNamespace(file=SimpleNamespace(src_uri="configuration.md"))
    assert old != page
    assert configuration.on_page_markdown(old, page=where, config=None, files=None) == page


def test_every_option_is_described_and_every_number_has_a_unit() -> None:
    assert set(configuration.described()) == set(Options.model_fields)
    for row in configuration.table().splitlines()[2:]:
        _, _, values, unit, *_ = (cell.strip() for cell in row.split("|"))
        assert bool(unit) == values.startswith(("integer", "number")), row
