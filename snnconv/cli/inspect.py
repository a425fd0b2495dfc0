"""`snnconv inspect`: what is inside, what folds into what, what does not and why."""

from __future__ import annotations

from snnconv.cli import options as o


@o.reads_source
def inspect(
    source: o.SourceArguments,
    json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Show what is inside a checkpoint, what folds into what, what does not and why."""
    from snnconv.cli import render
    from snnconv.files import shown
    from snnconv.inspection import inspect as look
    from snnconv.inspection import inspect_unknown
    from snnconv.results.document import inspection_document
    from snnconv.sources import UnknownLayers

    code, todo = 0, ""
    try:
        found = look(source.load())
    except UnknownLayers as error:
        found, code, todo = inspect_unknown(error), error.exit_code, error.todo
    if json:
        render.print_json(inspection_document(shown(source.path), found))
        return code
    out = render.console()
    out.print(f"{source.path}: {found.arch}, {found.parameters:,} parameters", style="bold")
    if found.operations is not None:
        out.print(f"  a time step  {found.operations:,} multiply-accumulates, {found.state_bytes:,} bytes of state")
    out.print(f"  reference    {found.reference}")
    for name, value in found.settings.items():
        out.print(f"  {name.replace('_', '-'):<12} {value}")
    for note in found.notes:
        out.print(f"  note         {note}")
    render.print_table("", ("neuron", "potential", "semantics"), ((n.name, n.shape, n.words) for n in found.neurons))
    if found.unknown:
        rows = ((path or "the network", kind, "keeps a state, and no adapter knows it") for path, kind in found.unknown.items())
        render.print_table("", ("unknown at", "class", "why"), rows)
        out.print(f"cannot be converted: {todo}")
        return code
    render.print_statistics(found.sites)
    render.print_sites(found.sites)
    out.print("every norm folds" if found.folds else "cannot be folded: see the refused norms above")
    return 0
