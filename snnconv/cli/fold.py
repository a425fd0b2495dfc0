"""`snnconv fold`: every norm becomes constants."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snnconv.cli import options as o

Output = Annotated[Path, typer.Option("-o", "--output", metavar="F.pt2", help="Where the folded program goes.")]


@o.reads_source
def fold(
    source: o.SourceArguments,
    output: Output,
    force: o.Force = False,
    json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Fold every norm of a checkpoint into weights and firing thresholds."""
    from snnconv.convert import check_output, fold_to

    check_output(output, force, suffixes=(".pt2",))
    loaded = source.load()
    folded = fold_to(loaded, output)
    from snnconv.cli import render
    from snnconv.report import terminal

    if json:
        from snnconv.results.document import fold_document

        names = str(source.path), str(output), folded.origin.arch
        render.print_json(fold_document(*names, folded.sites, loaded.reference, loaded.settings))
        return 0
    render.show(terminal.folding(str(output), folded.sites, loaded.reference, loaded.settings))
    return 0
