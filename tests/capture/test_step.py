"""Capturing a step: what is kept, what is left untouched, what is refused and why."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from snnconv.capture import capture
from snnconv.errors import Refused
from snnconv.ir.neuron import NEURON_OP
from snnconv.ir.program import Origin, TimeContract, neuron_calls, tensors
from snnconv.nn import LIF, MPBN, neurons, run
from tests.capture.wired import Wired, captured
from tests.networks import NETWORKS, Named, inputs, program_of, source_of, trained

_ATEN = torch.ops.aten


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("event", [False, True], ids=["static", "event"])
def test_the_program_is_the_module_at_any_batch_size(name: str, event: bool) -> None:
    source = source_of(NETWORKS[name](), event=event, readout="none")
    for batch in (1, 2, 5):
        x = inputs(source, batch)
        seen: dict[str, list[Tensor]] = {n: [] for n in source.program.neurons}
        expected: dict[str, list[Tensor]] = {n: [] for n in source.program.neurons}
        y = source.run(x, lambda neuron, current, spikes, to=expected: to[neuron].append(spikes))
        z = source.program.run(x, lambda neuron, t, u, spikes, to=seen: to[neuron].append(spikes))
        assert torch.equal(y, z)
        assert all(torch.equal(torch.cat(seen[n]), torch.cat(expected[n])) for n in seen)


def test_the_graph_holds_one_neuron_call_each_and_no_batch_size() -> None:
    program = program_of(NETWORKS["per_channel"]())
    assert [node.args[2] for node in neuron_calls(program.graph.graph)] == list(program.neurons) == ["act1", "act2", "act3"]
    assert not program.graph.graph.find_nodes(op="call_function", target=_ATEN.sym_size.int)
    assert {neuron.shape for neuron in program.neurons.values()} == {(6, 8, 8)}
    assert {path.partition(".")[0] for path in tensors(program.graph)} == {
        "conv1",
        "bn1",
        "conv2",
        "bn2",
        "conv3",
        "sum_norm",
        "head",
    }


def test_neurons_are_listed_in_the_order_in_which_they_run() -> None:
    program = captured(lambda m, x: m.head(m.a(m.b(m.conv(x))).flatten(1)))
    assert list(program.neurons) == ["b", "a"]
    assert [node.args[2] for node in program.graph.graph.find_nodes(op="call_function", target=NEURON_OP)] == ["b", "a"]


def test_the_module_itself_is_left_as_it_was() -> None:
    net = trained(Wired(lambda m, x: m.head(m.b(m.a(m.conv(x))).flatten(1)))).train().requires_grad_(False)
    layers, held = dict(net.named_modules()), {name: tensor.clone() for name, tensor in net.state_dict().items()}
    table = {name: neuron.neuron() for name, neuron in neurons(net).items()}
    capture(net, table, TimeContract(2, (2, 4, 4)), Origin("", ""))
    assert dict(net.named_modules()) == layers and net.training
    assert all(torch.equal(tensor, held[name]) for name, tensor in net.state_dict().items())
    assert all(neuron.state is None for neuron in neurons(net).values())


def test_evaluation_mode_is_captured() -> None:
    net = trained(Wired(lambda m, x: m.head(m.drop(m.a(m.conv(x)).flatten(1))), drop=nn.Dropout(0.9))).train()
    program = program_of(net, shape=(2, 4, 4))
    x = torch.rand(2, 2, 4, 4)
    assert torch.equal(program.run(x), program.run(x))
    assert torch.equal(program.run(x), run(net.eval(), x, 4).detach())


def test_a_branch_on_a_value_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    def branching(m: Wired, x: Tensor) -> Tensor:
        y = m.a(m.conv(x)).flatten(1)
        return m.head(y) if y.sum() > 3 else m.head(-y)

    with pytest.raises(Refused, match=r"torch.export cannot capture one step.*data-dependent.*without branches on values"):
        captured(branching)


def test_torch_cond_is_refused() -> None:
    with pytest.raises(Refused):
        captured(lambda m, x: torch.cond(x.sum() > 0, lambda y: y * 2, lambda y: y * 3, (m.a(x).flatten(1),)))


def test_a_fixed_batch_is_refused() -> None:
    with pytest.raises(Refused, match="any batch size"):
        captured(lambda m, x: m.head(m.a(m.conv(x)).view(2, 48)))


def test_a_network_without_neurons_is_refused() -> None:
    with pytest.raises(Refused, match=r"no spiking neuron that its forward calls; build it with snnconv\.nn\.LIF"):
        program_of(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()))
    with pytest.raises(Refused, match="no spiking neuron"):
        captured(lambda m, x: m.head(m.conv(x).flatten(1)))


@pytest.mark.parametrize("features", [4, (3, 4, 5)])
def test_a_membrane_norm_of_another_shape_than_its_potential_is_refused(features: int | tuple[int, ...]) -> None:
    with pytest.raises(
        Refused, match=r"neuron a sees potentials of shape \[3, 4, 4\], but its membrane norm holds \[.*--input-shape"
    ):
        captured(lambda m, x: m.head(m.a(m.conv(x)).flatten(1)), a=LIF(norm=MPBN(features)))


def test_a_network_is_captured_right_after_training() -> None:
    net = trained(Wired(lambda m, x: m.head(m.a(m.conv(x)).flatten(1))))
    run(net, torch.rand(2, 2, 4, 4), timesteps=2).sum().backward()
    program_of(net, shape=(2, 4, 4))


@pytest.mark.parametrize("whole", [True, False], ids=["layer", "weight"])
def test_tied_weights_are_captured(whole: bool) -> None:
    first, second = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
    second.weight = first.weight
    layers = {"first": first, "second": first if whole else second}
    captured(lambda m, x: m.second(m.a(m.first(x))).flatten(1), **layers)


def test_a_network_with_two_outputs_is_refused() -> None:
    with pytest.raises(Refused):
        captured(lambda m, x: (m.head(m.a(m.conv(x)).flatten(1)), x))


def test_a_constant_that_does_not_broadcast_is_refused_by_name() -> None:
    with pytest.raises(Refused, match=r"neuron a sees potentials of shape \[3, 4, 4\], but its leak is of shape \[3\]"):
        captured(lambda m, x: m.head(m.a(m.conv(x)).flatten(1)), a=LIF(leak=torch.rand(3)))


@pytest.mark.parametrize("size", [3, 4], ids=["as many channels as rows", "more rows than channels"])
@pytest.mark.parametrize("shape", [(1,), (3, 1, 1), (1, 3, 1, 1)], ids=str)
@pytest.mark.parametrize("constant", ["leak", "threshold"])
def test_a_constant_lies_where_the_layer_itself_has_it(constant: str, shape: tuple[int, ...], size: int) -> None:
    values = torch.linspace(0.1, 0.9, torch.Size(shape).numel()).reshape(shape)
    net = Wired(lambda m, x: m.head(m.a(m.conv(x)).flatten(1)), a=LIF(**{constant: values}), head=nn.Linear(3 * size**2, 4))
    source = source_of(trained(net), shape=(2, size, size))
    x = inputs(source, 3)
    assert torch.equal(source.program.run(x), source.run(x))


@pytest.mark.parametrize("shape", [(1,), (5,), (1, 5)], ids=str)
def test_a_constant_behind_a_linear_layer_lies_where_the_layer_itself_has_it(shape: tuple[int, ...]) -> None:
    leak = torch.linspace(0.1, 0.9, torch.Size(shape).numel()).reshape(shape)
    source = source_of(trained(nn.Sequential(nn.Linear(6, 5), LIF(leak=leak, threshold=0.2), nn.Linear(5, 2))), shape=(6,))
    x = inputs(source, 3)
    assert torch.equal(source.program.run(x), source.run(x))


@pytest.mark.parametrize("name", ["graph", "code", "meta", "class", 'a"b', "a\\b", "a\nb", "a\x1b[2Jb"])
def test_a_name_that_a_graph_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(Refused, match=r"graphs cannot hold, in '.*'; rename it in the network"):
        program_of(Named(name))
