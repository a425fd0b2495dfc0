"""Verifying a network that computes with potentials: real damage is found on data alone, an explained flip excuses no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import fx, nn

from snnconv.data import Data
from snnconv.engines import open_candidate
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.ir.neuron import POTENTIAL, SPIKES
from snnconv.ir.program import SpikingProgram, neuron_calls, share
from snnconv.results import Verification
from snnconv.results.verdict import judge
from snnconv.verify import Plan, verify
from tests.potentials import Net, added, after_call, inputs, lif, made, source_of
from tests.references import reference_to

Damage = Callable[[SpikingProgram], SpikingProgram]


def constant(name: str, factor: float) -> Damage:
    """The last neuron with another constant."""

    def damage(program: SpikingProgram) -> SpikingProgram:
        last = program.neurons["last"]
        value = getattr(last, name) * factor
        return replace(program, neurons={**program.neurons, "last": replace(last, **{name: value})})

    return damage


def rewired(change: Callable[[fx.Graph], None]) -> Damage:
    """The graph with another wiring."""

    def damage(program: SpikingProgram) -> SpikingProgram:
        graph = share(program.graph)
        change(graph.graph)
        graph.graph.lint()
        graph.recompile()
        return replace(program, graph=graph)

    return damage


def part(graph: fx.Graph, neuron: int, which: int) -> fx.Node:
    (found,) = (value for value in neuron_calls(graph)[neuron].users if value.args[1] == which)
    return found


def before_reset(graph: fx.Graph) -> None:
    """The output is the potential before the reset, not the one behind it."""
    (output,) = graph.find_nodes(op="output")
    rest = output.args[0][1:]
    output.args = ((part(graph, 1, POTENTIAL), *rest),)


def spikes_for_potential(graph: fx.Graph) -> None:
    """What reads the hidden potential reads the spikes."""
    part(graph, 0, POTENTIAL).replace_all_uses_with(part(graph, 0, SPIKES))


DAMAGE: dict[str, tuple[str, Damage]] = {
    "the leak of the last neuron": ("hard", constant("leak", 1.001)),
    "the gain of the last neuron": ("hard", constant("gain", 0.999)),
    "the threshold of the last neuron": ("hard", constant("threshold", 1.3)),
    "the leak of a silent neuron": ("leaky_none", constant("leak", 0.999)),
    "the gain of a read-out": ("mean_potential", constant("gain", 1.0001)),
    "the potential before its reset": ("hard", rewired(before_reset)),
    "spikes for a hidden potential": ("added", rewired(spikes_for_potential)),
}


def judged(damaged: SpikingProgram, name_or_net: str | nn.Module, folder: Path, form: str, *levels: str) -> Verification:
    source = source_of(made(name_or_net) if isinstance(name_or_net, str) else name_or_net)
    file = folder / "n.onnx"
    export(damaged, file, format_of(file), form)
    plan = Plan(levels=levels or ("deployment", "task"))
    return verify(
        reference_to(source), open_candidate(file).load(), Data(inputs(source), None, "noise"), ("s", "c"), plan, fresh=True
    )


@pytest.mark.sample(1)
@pytest.mark.parametrize("form", ["sequence", "step"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_to_what_is_read_is_found_on_data_alone(kind: str, form: str, tmp_path: Path) -> None:
    name, damage = DAMAGE[kind]
    folded = fold(source_of(made(name)).program)
    assert judge(judged(folded, name, tmp_path, form)).equivalent
    assert not judge(judged(damage(folded), name, tmp_path, form)).equivalent


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_to_what_is_read_is_found_in_float64(kind: str, tmp_path: Path) -> None:
    name, damage = DAMAGE[kind]
    found = judged(damage(fold(source_of(made(name)).program)), name, tmp_path, "sequence", "proof", "algebra")
    assert not judge(found).equivalent


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
    found = judged(replace(folded, graph=graph), net, tmp_path, "sequence", "deployment")
    first, last, output = found.layers
    assert first.explained > 0 and not first.unexplained
    assert last.sound and output.sound


def test_damage_behind_an_explained_flip_is_not_excused(tmp_path: Path) -> None:
    net = on_its_threshold()
    folded = fold(source_of(net).program)
    graph = share(folded.graph)
    graph.get_buffer("fc1.bias")[3] = torch.nextafter(torch.tensor(1.0), torch.tensor(0.0))
    damaged = rewired(spikes_for_potential)(replace(folded, graph=graph))
    assert not judge(judged(damaged, net, tmp_path, "sequence")).equivalent


def test_a_source_of_which_rounding_moves_the_potentials_further_each_step_is_equivalent(tmp_path: Path) -> None:
    net = Net(lif(), lif(v_threshold=1e6, tau=100.0), after_call("v")).eval()
    assert judge(judged(fold(source_of(net).program), net, tmp_path, "sequence")).equivalent
