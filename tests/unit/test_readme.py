"""What the README says of options, errors and Python is so."""

import ast
import re
from pathlib import Path

import conserver_supabase_storage as package
from conserver_supabase_storage import Options, SupabaseStorage

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def test_its_table_has_every_option() -> None:
    section = README.partition("## Options")[2].partition("\n## ")[0]
    names = re.findall(r"^\| `(\w+)`", section, re.MULTILINE)
    assert sorted(names) == sorted(field.alias or n for n, field in Options.model_fields.items())


def test_its_errors_are_ours() -> None:
    for name in re.findall(r"`(\w+Error)`", README):
        assert name in package.__all__


def test_its_python_calls_what_there_is() -> None:
    for snippet in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        for node in ast.walk(ast.parse(snippet)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "storage":
                assert hasattr(SupabaseStorage, node.attr)


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
