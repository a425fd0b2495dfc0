"""Pages that are made when the site is built: the command reference from the Typer app, the API reference, the changes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
ROOMS = tuple(sorted(path.parent.name for path in (ROOT / "snnconv").glob("*/__init__.py")))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that no file holds."""
    pages = {
        "reference/commands.md": commands(),
        "changes.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    }
    pages |= {f"reference/{name}.md": room(name) for name in ROOMS}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def commands() -> str:
    """The command reference: every command of the app with its help, its arguments and its options."""
    from snnconv.cli.main import app

    root = typer.main.get_command(app)
    return "\n".join(["# Commands", "", *_command(root, "snnconv")])


def _command(command: Any, name: str) -> Iterator[str]:
    context = typer.Context(command, info_name=name)
    yield from (f"## `{name}`", "", command.get_short_help_str(10_000), "")
    usage = " ".join(command.collect_usage_pieces(context))
    yield from ("```", f"{name} {usage}", "```", "")
    rows = [row for row in (one.get_help_record(context) for one in command.get_params(context)) if row is not None]
    if rows:
        yield from ("| option | what it says |", "|---|---|")
        yield from (f"| `{left}` | {_cell(right)} |" for left, right in rows)
        yield ""
    for inner in getattr(command, "commands", {}).values():
        yield from _command(inner, f"{name} {inner.name}")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def room(name: str) -> str:
    """The API reference of one room: its public modules, with what they define."""
    lines = [f"# `snnconv.{name}`", ""]
    for module in _modules(ROOT / "snnconv" / name):
        lines += [f"## `{module}`", "", f"::: {module}", ""]
    return "\n".join(lines)


def _modules(folder: Path) -> Iterator[str]:
    """The public modules in a folder that have a docstring: what has none is empty."""
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        public = all(part == "__init__" or not part.startswith("_") for part in parts)
        if public and ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) is not None:
            yield ".".join(part for part in parts if part != "__init__")
