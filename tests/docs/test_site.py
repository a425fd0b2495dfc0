"""The pages agree with the code that they describe."""

from __future__ import annotations

import re
import tomllib

from ruamel.yaml import YAML

from tests.docs.recipes import RECIPES, ROOT

DOCS = ROOT / "docs"
GENERATED = {"changes.md", "reference/commands.md"}


def pages(entries: list) -> list[str]:
    """Every page that a part of the navigation names."""
    found: list[str] = []
    for entry in entries:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        found += pages(value) if isinstance(value, list) else [value]
    return found


def test_the_navigation_has_every_page_and_every_room() -> None:
    rooms = {f"reference/{path.parent.name}.md" for path in (ROOT / "snnconv").glob("*/__init__.py")}
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    named = pages(YAML(typ="safe").load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(named) == sorted(GENERATED | rooms | written)


def test_the_arrows_of_the_architecture_are_those_that_the_linter_holds() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [layer.replace("snnconv.", "") for layer in contracts[0]["layers"]]
    assert "\n".join(f"    {layer}" for layer in layers) in (DOCS / "architecture.md").read_text()


def test_every_recipe_is_listed_with_its_registry() -> None:
    listed = re.findall(r"\]\((.+?)\.md\) \| `", (DOCS / "contributing" / "index.md").read_text())
    assert sorted(listed) == RECIPES


def test_every_file_that_contributing_links_to_is_there() -> None:
    links = re.findall(r"\]\((?!https:)(.+?)\)", (ROOT / "CONTRIBUTING.md").read_text())
    assert links and all((ROOT / link).exists() for link in links)
