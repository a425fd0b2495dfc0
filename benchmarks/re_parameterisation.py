"""How many spikes spikingjelly's own re-parameterisation of an MPBN network changes, and how many ours does.

    python -m benchmarks.re_parameterisation CHECKPOINT ARCH DATA.npz

The network runs on DATA by its own forward. Beside it run the same network after `re_parameterize_v_threshold`, with and without
`normalize_residual`, and the program that snnconv folds, everything free-running. Printed is how many spikes differ and how many
samples are decided otherwise; then the same once more with every third gamma of the membrane norms turned negative.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from pathlib import Path

import torch
from spikingjelly.activation_based import neuron
from torch import Tensor

from snnconv.data import open_data
from snnconv.fold import fold
from snnconv.sources import Source, SourceOptions, load_source

Spikes = list[Tensor]


def main() -> None:
    """Run all of them on the same data and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("checkpoint", "arch", "data"):
        parser.add_argument(name)
    arguments = parser.parse_args()
    options = SourceOptions(arch=arguments.arch)
    source = load_source(Path(arguments.checkpoint), options)
    x = torch.cat([chunk.x for chunk in open_data(arguments.data, source.program.contract).read(500)])
    compare("as trained", source, x)
    state = {key: value.clone() for key, value in source.module.state_dict().items()}
    for name, layer in source.module.named_modules():
        if isinstance(layer, neuron.MPBNLIFNode):
            state[f"{name}.vbn.weight"][::3] *= -1
    with tempfile.TemporaryDirectory() as folder:
        torch.save(state, Path(folder) / "turned.pth")
        compare("every third gamma negative", load_source(Path(folder) / "turned.pth", options), x)


def compare(title: str, source: Source, x: Tensor) -> None:
    """Print what each way of taking the norms out changes on `x`."""
    print(f"{title}: {len(x)} samples")
    expected, y = spikes_of(source, x)
    plain = fold(source.program)
    seen: Spikes = []
    folded = plain.run(x, lambda name, step, u, spikes: seen.append(spikes > 0))
    report("snnconv", by_neuron(seen, plain.neurons), folded, expected, y)
    for normalising in (False, True):
        module = copy.deepcopy(source.module)
        for layer in module.modules():
            if isinstance(layer, neuron.MPBNLIFNode):
                layer.re_parameterize_v_threshold(normalize_residual=normalising)
        found = spikes_of(Source(source.program, module, (), source.forward), x)
        report(f"spikingjelly, normalize_residual={normalising}", *found, expected, y)


def spikes_of(source: Source, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Every spike of a network run by its own forward, and its logits."""
    seen: dict[str, Spikes] = {}
    y = source.run(x, lambda name, current, spikes: seen.setdefault(name, []).append(spikes > 0))
    return {name: torch.stack(steps) for name, steps in seen.items()}, y


def by_neuron(seen: Spikes, neurons: dict[str, object]) -> dict[str, Tensor]:
    """The spikes of a program, which come step by step, neuron by neuron."""
    return {name: torch.stack(seen[i :: len(neurons)]) for i, name in enumerate(neurons)}


def report(title: str, found: dict[str, Tensor], logits: Tensor, expected: dict[str, Tensor], y: Tensor) -> None:
    """Print one line: spikes that differ, of all of them, and decisions that do."""
    flips = sum(int((found[name] ^ expected[name]).sum()) for name in expected)
    values = sum(fired.numel() for fired in expected.values())
    spikes = sum(int(fired.sum()) for fired in expected.values())
    decided = int((logits.argmax(1) != y.argmax(1)).sum())
    print(f"  {title:<42}{flips:>12,} flips ({flips / values:.2%} of {values:,}; {spikes:,} fire), {decided} decisions")


if __name__ == "__main__":
    main()
