"""What every framework's networks go through: a few steps of training, every artifact, every spike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from snnconv.data import Data
from snnconv.engines import open_candidate
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.results import Verification
from snnconv.results.verdict import judge
from snnconv.sources import Source, SourceOptions, load_source
from snnconv.verify import verify
from snnconv.verify.reference import FreshExport
from tests.references import reference_to

Artifacts = tuple[tuple[str, str], ...]
ARTIFACTS: Artifacts = (("n.onnx", "sequence"), ("n.onnx", "step"), ("n.ts", "sequence"), ("n.ts", "step"))


def in_turn(networks: Iterable[str], name: str) -> Artifacts:
    """One ONNX and one TorchScript artifact, a sequence and a step: the other way round for every second network."""
    odd = list(networks).index(name) % 2
    return (ARTIFACTS[odd], ARTIFACTS[3 - odd])


def mixed_signs(net: nn.Module) -> nn.Module:
    """`net` with gammas of both signs in every norm, and betas off zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.weight is not None:
                signs = torch.where(torch.arange(len(layer.weight)) % 3 == 1, -1.0, 1.0)
                layer.weight.copy_(signs * (0.6 + torch.rand(len(layer.weight), generator=generator)))
    return net


def trained(
    net: nn.Module, run: Callable[[nn.Module, Tensor], Tensor], x: Tensor, steps: int = 5, rate: float = 0.01
) -> nn.Module:
    """`net` after some steps of training on logits `run(net, x)` from a fresh state."""
    optimizer = torch.optim.Adam(net.parameters(), rate)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(run(net, x), torch.arange(len(x)) % 10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def loaded(net: nn.Module, arch: str, folder: Path, **options: object) -> Source:
    """The source of a trained network, through its file."""
    torch.save(net.state_dict(), folder / "net.pth")
    return load_source(folder / "net.pth", SourceOptions(arch=arch, **options))


def verified(source: Source, folder: Path, x: Tensor, artifacts: Artifacts = ARTIFACTS) -> list[Verification]:
    """Export `source` in every way and verify each artifact; all must be equivalent, without an unexplained flip.

    Exports to ONNX are slow, so each stands for the fresh export too: that two are alike is shown in `tests/verify`.
    """
    found, folded = [], fold(source.program)
    reference = reference_to(source, folded)
    for file, form in artifacts:
        export(folded, folder / file, format_of(folder / file), form)
        candidate = open_candidate(folder / file).load()
        if candidate.format == "onnx":
            reference.exports["onnx", form, None] = FreshExport(candidate)
        found.append(verify(reference, candidate, Data(x, None, "noise"), ("s", file), fresh=True))
        verdict = judge(found[-1])
        assert verdict.equivalent, (file, form, verdict.faults)
        assert not any(tally.unexplained for tally in found[-1].layers)
    return found
