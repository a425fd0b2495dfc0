"""`snnconv fold`: every norm becomes constants."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snnconv.cli.command import command
from snnconv.cli.options import Force, Json, SourceArguments

Output = Annotated[Path, typer.Option("-o", "--out", metavar="F.pt2", help="Where the folded program goes.")]


@command
def fold(source: SourceArguments, out: Output, force: Force = False, json: Json = False) -> int:
    """Fold every norm of a checkpoint into weights and firing thresholds."""
    from snnconv.cli import render
    from snnconv.convert import check_output, fold_to
    from snnconv.report import terminal
    from snnconv.results.document import fold_document

    check_output(out, force, suffixes=(".pt2",))
    loaded = source.load()
    folded = fold_to(loaded, out)
    if json:
        names = str(source.path), str(out), folded.origin.arch
        render.print_json(fold_document(*names, folded.sites, loaded.reference, loaded.settings))
    else:
        render.show(terminal.folding(str(out), folded.sites, loaded.reference, loaded.settings))
    return 0
