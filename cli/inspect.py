"""`snnconv inspect`: what is inside, what folds into what, what does not and why."""

from __future__ import annotations

from snnconv_cli import options as o


def inspect(
    source: o.SourceFile,
    arch: o.Arch = None,
    timesteps: o.Timesteps = None,
    input: o.Input = None,
    input_shape: o.InputShape = None,
    readout: o.Readout = None,
    leak: o.Leak = None,
    threshold: o.Threshold = None,
    strict: o.Strict = None,
    config: o.Config = None,
    json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Show what is inside a checkpoint, what folds into what, what does not and why."""
    loaded = o.load(source, arch, timesteps, input, input_shape, readout, leak, threshold, strict, config)
    from snnconv.inspection import inspect as look
    from snnconv_cli import render

    found = look(loaded)
    if json:
        render.print_json(found.document())
        return 0
    out = render.console()
    out.print(f"{source}: {found.arch}, {found.parameters:,} parameters", style="bold")
    for name, value in found.settings.items():
        out.print(f"  {name.replace('_', '-'):<12} {value}")
    for note in found.notes:
        out.print(f"  note         {note}")
    render.print_table("", ("neuron", "potential", "semantics"), ((n.name, n.shape, n.words) for n in found.neurons))
    render.print_statistics(found.sites)
    render.print_sites(found.sites)
    out.print("every norm folds" if found.foldable else "cannot be folded: see the refused norms above")
    return 0
