"""Folding as a whole, and what every pass's test shares: settled networks and the claims that hold for any fold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from snnconv.fold import EXACT, ROUNDING, FoldRefused, fold
from snnconv.fold.norm_calls import batch_norms, norm_path
from snnconv.ir.program import SpikingProgram, tensors
from snnconv.nn import LIF, MPBN
from tests.networks import NETWORKS, program_of

BATCH_NORMS = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def settled(net: nn.Module, seed: int = 0) -> nn.Module:
    """Seeded weights, and norms with statistics as training leaves them: both signs of gamma, a gamma of zero."""
    generator = torch.Generator().manual_seed(seed)

    def fill(tensor: Tensor | None, low: float, high: float) -> None:
        if tensor is not None:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for parameter in net.parameters():
            reach = 2 / parameter[0].numel() ** 0.5
            fill(parameter, -reach, reach)
        for norm in net.modules():
            if isinstance(norm, BATCH_NORMS | MPBN) and norm.running_mean is not None:
                fill(norm.running_mean, -0.3, 0.3)
                fill(norm.running_var, 0.2, 2.0)
                fill(norm.weight, -0.7, 1.6)
                fill(norm.bias, -0.3, 0.8)
                if norm.weight is not None:
                    norm.weight.view(-1)[-1] = 0.0
    return net.eval()


Seen = dict[tuple[str, int], tuple[Tensor, Tensor]]


def watched(program: SpikingProgram, x: Tensor) -> tuple[Tensor, Seen]:
    """Logits, and the potentials and spikes of every neuron and step."""
    seen: Seen = {}
    y = program.run(x, lambda name, step, u, spikes: seen.__setitem__((name, step), (u, spikes)))
    return y, seen


def assert_folds(net: nn.Module, shape: tuple[int, ...] = (2, 6, 6), timesteps: int = 3, seed: int = 0) -> SpikingProgram:
    """Fold a settled `net` and check what every fold promises; returns the folded program."""
    program = program_of(settled(net, seed), timesteps=timesteps, shape=shape)
    assert_folds_alike(program)
    assert_nothing_is_changed_by_folding(program)
    folded = fold(program)
    assert_no_norm_is_left(folded)
    assert_every_norm_has_one_site(folded)
    assert_constants_are_rounded_once(folded)
    return folded


def assert_folds_alike(program: SpikingProgram) -> None:
    """In float64, where no sum sits near a threshold by rounding alone: same spikes, same potentials, same logits."""
    folded64 = program.to(torch.float64)
    x = torch.rand(program.contract.batch_shape(4), generator=torch.Generator().manual_seed(1)).double() * 2 - 0.5
    (y, seen), (z, found) = watched(folded64, x), watched(fold(folded64), x)
    assert (y - z).abs().max() <= 1e-9 * max(1.0, y.abs().max())
    assert seen.keys() == found.keys()
    for at, (u, spikes) in seen.items():
        assert torch.allclose(u, found[at][0], rtol=1e-9, atol=1e-9) and torch.equal(spikes, found[at][1])
    assert 0 < torch.cat([spikes.flatten() for _, spikes in seen.values()]).mean() < 1


def assert_nothing_is_changed_by_folding(program: SpikingProgram) -> None:
    code, neurons = program.graph.code, dict(program.neurons)
    held = {path: tensor.clone() for path, tensor in tensors(program.graph).items()}
    fold(program)
    after = tensors(program.graph)
    assert program.graph.code == code and after.keys() == held.keys() and not program.sites
    assert all(torch.equal(after[path], held[path]) for path in held)
    assert all(program.neurons[name] is neuron for name, neuron in neurons.items())


def assert_no_norm_is_left(folded: SpikingProgram) -> None:
    assert folded.folded and not batch_norms(folded.graph.graph)
    assert not [node for node in folded.graph.graph.nodes if "batch_norm" in str(node.target) and node.op == "call_function"]
    assert all(neuron.norm is None for neuron in folded.neurons.values())
    read = {str(node.target) for node in folded.graph.graph.find_nodes(op="get_attr")}
    assert read == set(tensors(folded.graph)), "a constant is left that nothing reads"


def assert_every_norm_has_one_site(folded: SpikingProgram) -> None:
    source = folded.source
    norms = [norm_path(node) for node in batch_norms(source.graph.graph)]
    membrane = [name for name, neuron in source.neurons.items() if neuron.norm is not None]
    assert sorted(site.path for site in folded.sites) == sorted(norms + membrane)
    assert all(site.outcome == (EXACT if site.kind == "MPBN" else ROUNDING) for site in folded.sites)
    assert set(folded.proofs) == set(membrane)


def assert_constants_are_rounded_once(folded: SpikingProgram) -> None:
    """Every float32 constant is the float64 one, rounded."""
    folded64 = fold(folded.source.to(torch.float64))
    wide = tensors(folded64.graph)
    assert all(torch.equal(held, wide[path].float()) for path, held in tensors(folded.graph).items())
    for name, neuron in folded.neurons.items():
        for held, exact in ((neuron.gain, folded64.neurons[name].gain), (neuron.offset, folded64.neurons[name].offset)):
            assert held is exact is None or torch.equal(held, exact.float())


@pytest.mark.parametrize("name", NETWORKS)
def test_every_norm_of_a_network_folds(name: str) -> None:
    program = program_of(NETWORKS[name]())
    assert_folds_alike(program)
    assert_nothing_is_changed_by_folding(program)
    folded = fold(program)
    assert_no_norm_is_left(folded)
    assert_every_norm_has_one_site(folded)
    assert_constants_are_rounded_once(folded)
    assert folded.source is program and folded.contract == program.contract and folded.origin == program.origin


def test_sites_say_where_each_norm_went_and_how_exactly() -> None:
    folded = fold(program_of(NETWORKS["per_channel"]()))
    assert [(site.path, site.kind, site.into, site.outcome) for site in folded.sites] == [
        ("bn1", "BatchNorm2d", "conv1", ROUNDING),
        ("bn2", "BatchNorm2d", "conv2", ROUNDING),
        ("sum_norm", "BatchNorm2d", "act3", ROUNDING),
        ("act1", "MPBN", "threshold", EXACT),
        ("act2", "MPBN", "threshold", EXACT),
        ("act3", "MPBN", "threshold", EXACT),
    ]


def test_a_network_without_norms_comes_through_unchanged() -> None:
    program = program_of(settled(nn.Sequential(nn.Conv2d(2, 3, 3), LIF(), nn.Flatten())))
    folded = fold(program)
    assert folded.folded and folded.sites == () and folded.neurons == program.neurons
    assert folded.graph.code == program.graph.code


def test_folding_again_finds_nothing_to_do() -> None:
    once = fold(program_of(NETWORKS["per_channel"]()))
    twice = fold(once)
    assert twice.sites == once.sites and twice.graph.code == once.graph.code


def test_a_refusal_leaves_nothing_half_folded() -> None:
    layers = (nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), LIF(norm=MPBN(3)), nn.GroupNorm(1, 3), nn.Flatten())
    program = program_of(settled(nn.Sequential(*layers)))
    with pytest.raises(FoldRefused):
        fold(program)
    assert len(batch_norms(program.graph.graph)) == 1 and program.neurons["2"].norm is not None


@pytest.mark.parametrize(("event", "readout"), [(True, "sum"), (False, "last"), (True, "none")])
def test_folding_keeps_the_time_contract(event: bool, readout: str) -> None:
    program = program_of(NETWORKS["per_element"](), timesteps=2, event=event, readout=readout)
    assert fold(program).contract == program.contract
    assert_folds_alike(program)
