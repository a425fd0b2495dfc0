"""Capturing a step: what is kept, what is left untouched, what is refused and why."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from snnconv.capture import capture
from snnconv.errors import Refused
from snnconv.ir.neuron import NEURON_OP
from snnconv.ir.program import Origin, SpikingProgram, TimeContract, neuron_calls, tensors
from snnconv.nn import LIF, MPBN, neurons, run
from tests.networks import NETWORKS, Named, inputs, program_of, source_of, trained

_ATEN = torch.ops.aten


class Wired(nn.Module):
    """A conv, two neurons and a head, with a forward of its own."""

    def __init__(self, wiring: Callable[[Wired, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.wiring = wiring
        self.conv, self.a, self.b, self.head = nn.Conv2d(2, 3, 3, padding=1), LIF(), LIF(threshold=0.3), nn.Linear(48, 4)
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.wiring(self, x)


def captured(wiring: Callable[[Wired, Tensor], Tensor], **layers: nn.Module) -> SpikingProgram:
    return program_of(trained(Wired(wiring, **layers)), shape=(2, 4, 4))


def assert_captured_alike(wiring: Callable[[Wired, Tensor], Tensor], **layers: nn.Module) -> SpikingProgram:
    source = source_of(trained(Wired(wiring, **layers)), shape=(2, 4, 4))
    for batch in (1, 3):
        x = inputs(source, batch)
        assert torch.equal(source.program.run(x), source.run(x))
    return source.program


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


def test_a_neuron_that_forward_never_calls_is_left_out() -> None:
    program = captured(lambda m, x: m.head(m.a(m.conv(x)).flatten(1)))
    assert list(program.neurons) == ["a"]
    assert len(program.graph.graph.find_nodes(op="placeholder")) == 2


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


RESHAPES = {
    "flatten": lambda y: y.flatten(1),
    "view with a batch size": lambda y: y.view(y.shape[0], 48),
    "view with a free batch": lambda y: y.view(-1, 48),
    "reshape": lambda y: y.reshape(y.size(0), 48),
    "permute and reshape": lambda y: y.permute(0, 2, 3, 1).reshape(y.shape[0], 48),
}


@pytest.mark.parametrize("name", RESHAPES)
def test_reshapes_that_keep_the_batch_are_captured(name: str) -> None:
    assert_captured_alike(lambda m, x: m.head(RESHAPES[name](m.a(m.conv(x)))))


@pytest.mark.parametrize("operator", ["view", "reshape"])
def test_a_reshape_that_leaves_one_size_open_is_captured(operator: str) -> None:
    assert_captured_alike(lambda m, x: m.head(getattr(m.a(m.conv(x)), operator)(x.shape[0], -1)))


def added_in_place(m: Wired, y: Tensor) -> Tensor:
    z = m.conv2(y)
    z += y
    return z.relu_().mul_(2)


def changed_behind_a_view(m: Wired, y: Tensor) -> Tensor:
    z = m.conv2(y)
    z.flatten(1).add_(1)
    return z


def seen_through_a_view(m: Wired, y: Tensor) -> Tensor:
    z = m.conv2(y)
    seen = z.flatten(1)
    z += 1
    return z + seen.view_as(z)


def test_operators_in_place_are_captured() -> None:
    assert_captured_alike(lambda m, x: m.head(added_in_place(m, m.a(m.conv(x))).flatten(1)), conv2=nn.Conv2d(3, 3, 1))


@pytest.mark.parametrize("change", [changed_behind_a_view, seen_through_a_view])
def test_a_change_that_another_name_sees_is_refused(change: Callable[[Wired, Tensor], Tensor]) -> None:
    with pytest.raises(Refused, match=r"changes a value in place, in aten.add_"):
        captured(lambda m, x: m.head(change(m, m.a(m.conv(x))).flatten(1)), conv2=nn.Conv2d(3, 3, 1))


ARITHMETIC = {
    "scaled by the batch size": lambda m, y: y * y.shape[0],
    "zeros of the batch size": lambda m, y: y + torch.zeros(y.shape[0], 3, 4, 4),
    "expanded to the batch size": lambda m, y: y + m.conv.bias.view(1, 3, 1, 1).expand(y.shape[0], -1, 4, 4),
    "divided by the batch size": lambda m, y: y / y.shape[0],
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_with_the_batch_size_is_refused(name: str) -> None:
    with pytest.raises(Refused, match=r"computes with the batch size .*write reshapes as x.flatten"):
        captured(lambda m, x: m.head(ARITHMETIC[name](m, m.a(m.conv(x))).flatten(1)))


def test_arithmetic_across_the_batch_is_refused() -> None:
    with pytest.raises(Refused):
        captured(lambda m, x: m.head((y := m.a(m.conv(x)).flatten(1)) - y.mean(0, keepdim=True)))


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


def test_a_neuron_called_twice_is_refused_by_name() -> None:
    with pytest.raises(Refused, match=r"neuron a is called 2 times in one time step.*; give each place its own neuron"):
        captured(lambda m, x: m.head(m.a(m.a(m.conv(x))).flatten(1)))


def test_one_neuron_under_two_names_is_refused_by_name() -> None:
    net = Wired(lambda m, x: m.head(m.b(m.a(m.conv(x))).flatten(1)))
    net.b = net.a
    with pytest.raises(Refused, match="give each place its own neuron"):
        program_of(trained(net), shape=(2, 4, 4))


def test_a_network_without_neurons_is_refused() -> None:
    with pytest.raises(Refused, match=r"no spiking neuron that its forward calls; build it with snnconv\.nn\.LIF"):
        program_of(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()))
    with pytest.raises(Refused, match="no spiking neuron"):
        captured(lambda m, x: m.head(m.conv(x).flatten(1)))


@pytest.mark.parametrize("shape", [(3, 4, 4), (2, 5, 4), (2, 4)])
def test_an_input_shape_that_does_not_run_is_refused(shape: tuple[int, ...]) -> None:
    net = trained(Wired(lambda m, x: m.head(m.a(m.conv(x)).flatten(1))))
    with pytest.raises(Refused, match=rf"does not run on an input of shape \[{shape[0]}.*--input-shape C,H,W"):
        program_of(net, shape=shape)


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


def test_a_cast_to_float_follows_the_type_of_the_program() -> None:
    program = captured(lambda m, x: m.head(m.a(m.conv(x.float())).flatten(1)))
    assert program.to(torch.float64).run(torch.rand(2, 2, 4, 4).double()).dtype == torch.float64


NO_OUTPUT_OVER_TIME = {
    "class numbers": lambda m, x: m.a(m.conv(x)).flatten(1).argmax(1),
    "one number for the batch": lambda m, x: m.a(m.conv(x)).sum(),
}


@pytest.mark.parametrize("output", NO_OUTPUT_OVER_TIME)
def test_an_output_that_cannot_be_read_out_is_refused(output: str) -> None:
    with pytest.raises(Refused):
        captured(NO_OUTPUT_OVER_TIME[output])


def test_a_network_whose_neurons_all_go_unread_is_refused() -> None:
    with pytest.raises(Refused, match="no spiking neuron"):
        captured(lambda m, x: (m.a(m.conv(x)), m.head(m.conv(x).flatten(1)))[1])


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


def test_a_wrong_shape_is_asked_for_only_if_the_shape_is_wrong() -> None:
    def failing(m: Wired, x: Tensor) -> Tensor:
        raise KeyError("gain")

    with pytest.raises(Refused, match=r"KeyError: 'gain', in test_step.py line \d+ \(raise") as caught:
        captured(failing)
    assert "--input-shape" not in str(caught.value)


@pytest.mark.parametrize("name", ["graph", "code", "meta", "class", 'a"b', "a\\b", "a\nb", "a\x1b[2Jb"])
def test_a_name_that_a_graph_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(Refused, match=r"graphs cannot hold, in '.*'; rename it in the network"):
        program_of(Named(name))
