"""MPBN goes into the firing threshold of its neuron (arXiv 2308.08359; the paper's closed form drops eps, this does not).

    before   s = [batch_norm(u) > theta],   batch_norm(u) = a * u + b,  a = gamma / sqrt(var + eps)
    after    s = [u > cut]  if gamma > 0,   [u < cut]  if gamma < 0,   always or never if gamma = 0

Where the carried value is the raw potential, the norm touches nothing but the comparison; sign, eps and a missing affine part
come in through the kernel itself. The cut is the last float that stays silent, found by asking torch's own batch_norm kernel
(`snnconv.fold.threshold`): the decision is bit for bit the kernel's for every float, hence `exact`.

Where the normalised potential is carried, the threshold is as exact, and the state becomes an affine map of the raw potential:

    before   m = L * (a * u + b) + B        after   m = (L * a) * u + (L * b + B)      R and S as they were

in float64, rounded when every pass is done: `rounding`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from snnconv.fold.editing import describe_thresholds, is_zero, per_channel, rewritten
from snnconv.fold.norm_calls import affine, statistics
from snnconv.fold.passes import FoldPass
from snnconv.fold.threshold import Cut, find_cut, proves
from snnconv.ir.neuron import MembraneNorm, Neuron
from snnconv.ir.program import SpikingProgram, ThresholdProof
from snnconv.results import EXACT, ROUNDING, Site


class FoldMembraneNorm(FoldPass):
    """Replaces each membrane norm by exact thresholds and keeps the proof."""

    name = "membrane-norm"

    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        """The program whose neurons have thresholds in the place of membrane norms."""
        neurons, proofs, sites = dict(program.neurons), dict(program.proofs), []
        for name, neuron in program.neurons.items():
            if neuron.norm is None:
                continue
            neurons[name] = fold_neuron(neuron)
            proofs[name] = ThresholdProof(neuron.norm, neuron.threshold, neuron.strict, kernel(program.dtype))
            sites.append(_site(name, neuron.norm, neurons[name]))
        return rewritten(program, program.graph, sites, neurons=neurons, proofs=proofs)

    def ensures(self, program: SpikingProgram) -> None:
        """Raise `RuntimeError` if a threshold does not prove itself in every memory layout."""
        for name, proof in program.proofs.items():
            if not holds(program.neurons[name], proof).all():
                raise RuntimeError(f"{self.name}: the thresholds of {name} do not prove themselves in every memory layout")


def fold_neuron(neuron: Neuron) -> Neuron:
    """The same neuron without its membrane norm, firing on exactly the same potentials.

    Signs of gamma say whether it inverts, not cuts: a gamma so small that no float32 fires holds the mask that float64 needs.
    """
    cut = find_cut(lambda u: neuron.fires(u[None])[0], _axis(neuron))
    gamma = None if neuron.norm is None else neuron.norm.gamma
    inverted = cut.inverted if gamma is not None and bool((gamma < 0).any()) else None
    leak, shift = _carried(neuron)
    return replace(neuron, threshold=cut.threshold, inverted=inverted, strict=True, leak=leak, shift=shift, norm=None)


def _carried(neuron: Neuron) -> tuple[Tensor, Tensor | None]:
    """Leak and shift that carry on from the raw potential what the neuron carries on."""
    norm = neuron.norm
    if norm is None or not norm.carried:
        return neuron.leak, neuron.shift
    layout = norm.mean.shape if norm.mean.dim() > 1 else (-1, *[1] * (len(neuron.shape) - 1))
    mean, var = (t.double().view(layout) for t in (norm.mean, norm.var))
    gamma, beta = (None if t is None else t.double().view(layout) for t in (norm.gamma, norm.beta))
    scale, added = affine(gamma, beta, mean, var, norm.eps)
    leak = neuron.leak.double()
    shift = leak * added if neuron.shift is None else leak * added + neuron.shift.double()
    return leak * scale, None if is_zero(shift) else shift


def _site(name: str, norm: MembraneNorm, folded: Neuron) -> Site:
    detail, held = describe_thresholds(folded.threshold, folded.inverted), statistics(norm.gamma, norm.mean, norm.var, norm.eps)
    if not norm.carried:
        return Site(name, norm.kind, "threshold", EXACT, detail, held)
    return Site(
        name, norm.kind, "threshold, leak and shift", ROUNDING, f"{detail}; thresholds exact, carried value rounded", held
    )


def holds(folded: Neuron, proof: ThresholdProof) -> Tensor:
    """Per threshold, whether the kernel confirms it now, in contiguous and in channels-last memory."""
    reference = replace(folded, threshold=proof.threshold, strict=proof.strict, inverted=None, norm=proof.norm)
    inverted = torch.zeros_like(folded.threshold, dtype=torch.bool) if folded.inverted is None else folded.inverted
    cut = Cut(folded.threshold, inverted)
    confirmed = proves(lambda u: reference.fires(u[None])[0], cut)
    if folded.threshold.dim() == 3 and proof.norm.mean.dim() == 1:
        confirmed = confirmed & proves(lambda u: _fires_channels_last(reference, u), cut)
    return confirmed


def kernel(dtype: torch.dtype) -> str:
    """The kernel whose decisions are reproduced. Its last bit depends on the vector unit (a fused multiply-add or none)."""
    return f"torch {torch.__version__} batch_norm {str(dtype).removeprefix('torch.')} {torch.backends.cpu.get_cpu_capability()}"


def _fires_channels_last(reference: Neuron, u: Tensor) -> Tensor:
    tiles = (2, 1, *(2 if size == 1 else 1 for size in u.shape[1:]))
    tiled = u[None].repeat(tiles).contiguous(memory_format=torch.channels_last)
    fired = reference.fires(tiled)
    corner = fired[:1, :, : u.shape[1], : u.shape[2]]
    if not bool((fired == corner.repeat(tiles)).all()):
        raise RuntimeError("the kernel decides differently for the same potential at different places")
    return corner[0]


def _axis(neuron: Neuron) -> Tensor:
    """Zeros with one element per threshold: per channel, or per element if the norm or the threshold is."""
    if neuron.norm is None:
        raise RuntimeError("no membrane norm to fold")
    mean, dims = neuron.norm.mean, len(neuron.shape)
    layout = per_channel(mean, dims) if mean.dim() == 1 else mean
    return torch.zeros(torch.broadcast_shapes(layout.shape, neuron.threshold.shape), dtype=mean.dtype)
