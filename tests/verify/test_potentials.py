"""Verifying a network that computes with potentials: an explained flip is expected, and excuses nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from spikingjelly.activation_based import neuron
from torch import nn

from snnconv.data import Data
from snnconv.engines import open_candidate
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.ir.neuron import POTENTIAL, SPIKES
from snnconv.ir.program import SpikingProgram, neuron_calls, share
from snnconv.results import Verification
from snnconv.results.verdict import judge
from snnconv.verify import Plan, verify
from tests.potentials import Net, added, after_call, inputs, lif, source_of
from tests.references import reference_to


def judged(program: SpikingProgram, net: nn.Module, folder: Path, *levels: str) -> Verification:
    source = source_of(net)
    file = folder / "n.onnx"
    export(program, file, format_of(file))
    plan = Plan(levels=levels or ("deployment", "task"))
    return verify(
        reference_to(source), open_candidate(file).load(), Data(inputs(source), None, "noise"), ("s", "c"), plan, fresh=True
    )


def on_its_threshold() -> Net:
    """A network whose hidden potentials sit on their threshold, whatever the input."""
    torch.manual_seed(0)
    net = Net(neuron.IFNode(1.0), lif(), added).eval()
    with torch.no_grad():
        net.fc1.weight.zero_()
        net.fc1.bias.fill_(0.5)
        net.fc1.bias[3] = 1.0
    return net


def test_what_follows_from_an_explained_flip_is_expected(tmp_path: Path) -> None:
    net = on_its_threshold()
    folded = fold(source_of(net).program)
    graph = share(folded.graph)
    graph.get_buffer("fc1.bias")[3] = torch.nextafter(torch.tensor(1.0), torch.tensor(0.0))
    found = judged(replace(folded, graph=graph), net, tmp_path, "deployment")
    first, last, output = found.layers
    assert first.explained > 0 and not first.unexplained
    assert last.sound and output.sound


def test_damage_behind_an_explained_flip_is_not_excused(tmp_path: Path) -> None:
    net = on_its_threshold()
    folded = fold(source_of(net).program)
    graph = share(folded.graph)
    graph.get_buffer("fc1.bias")[3] = torch.nextafter(torch.tensor(1.0), torch.tensor(0.0))
    first, _ = neuron_calls(graph.graph)
    spikes, potential = (next(value for value in first.users if value.args[1] == which) for which in (SPIKES, POTENTIAL))
    potential.replace_all_uses_with(spikes)
    graph.recompile()
    assert not judge(judged(replace(folded, graph=graph), net, tmp_path)).equivalent


def test_a_source_of_which_rounding_moves_the_potentials_further_each_step_is_equivalent(tmp_path: Path) -> None:
    net = Net(lif(), lif(v_threshold=1e6, tau=100.0), after_call("v")).eval()
    assert judge(judged(fold(source_of(net).program), net, tmp_path)).equivalent
