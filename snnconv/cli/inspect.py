"""`snnconv inspect`: what is inside, what folds into what, what does not and why."""

from __future__ import annotations

from snnconv.cli.command import command
from snnconv.cli.options import Json, SourceArguments


@command
def inspect(source: SourceArguments, json: Json = False) -> int:
    """Show what is inside a checkpoint, what folds into what, what does not and why."""
    from snnconv.cli import render
    from snnconv.files import shown
    from snnconv.inspection import inspect as look
    from snnconv.inspection import inspect_unknown
    from snnconv.report import terminal
    from snnconv.results.document import inspection_document
    from snnconv.sources import UnknownLayers

    code, todo = 0, ""
    try:
        found = look(source.load())
    except UnknownLayers as error:
        found, code, todo = inspect_unknown(error), error.exit_code, error.todo
    if json:
        render.print_json(inspection_document(shown(source.path), found))
    else:
        render.show(terminal.inspection(str(source.path), found, todo))
    return code
