"""Networks that compute with membrane potentials, in the styles of the frameworks, without a norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import snntorch
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

from snnconv.ir.program import TimeContract
from snnconv.sources import Source
from tests.networks import captured

T, WIDTH, INPUTS, CLASSES = 6, 12, 8, 5
Use = Callable[[Any, Tensor], Tensor]


class Net(nn.Module):
    """Two linear layers and two neurons; `use(self, current of the last neuron)` is the output."""

    def __init__(self, first: nn.Module, last: nn.Module, use: Use) -> None:
        super().__init__()
        self.fc1, self.first, self.fc2, self.last = layer.Linear(INPUTS, WIDTH), first, layer.Linear(WIDTH, CLASSES), last
        self.use = use

    def forward(self, x: Tensor) -> Tensor:
        return self.use(self, x)


def after_call(of: str) -> Use:
    """The output is an attribute of the last neuron after its call."""

    def use(net: Any, x: Tensor) -> Tensor:
        net.last(net.fc2(net.first(net.fc1(x))))
        return getattr(net.last, of)

    return use


def called(net: Any, x: Tensor) -> Tensor:
    """The output is what the last layer gives."""
    return net.last(net.fc2(net.first(net.fc1(x))))


def returned(net: Any, x: Tensor) -> Tensor:
    """The output is the last state that the last layer returns."""
    return called(net, x)[-1]


def added(net: Any, x: Tensor) -> Tensor:
    """A hidden potential is added to the spikes."""
    s = net.first(net.fc1(x))
    return net.last(net.fc2(s + 0.3 * net.first.v))


def gated(net: Any, x: Tensor) -> Tensor:
    """A hidden potential gates the spikes."""
    s = net.first(net.fc1(x))
    return net.last(net.fc2(s * torch.sigmoid(net.first.v))) + net.last.v


def all_steps(net: nn.Module) -> nn.Module:
    functional.set_step_mode(net, "m")
    return net


class ReadOut(neuron.LIFNode):
    """Integrates and gives its potential."""

    def single_step_forward(self, x: Tensor) -> Tensor:
        super().single_step_forward(x)
        return self.v


class ReadOutOfAllSteps(ReadOut):
    """The same in step mode "m", where spikingjelly does not call `single_step_forward`."""

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        return torch.stack([self.single_step_forward(x) for x in x_seq])


def lif(**options: Any) -> neuron.LIFNode:
    return neuron.LIFNode(**{"v_threshold": 0.2, **options})


def leaky(**options: Any) -> snntorch.Leaky:
    return snntorch.Leaky(**{"beta": 0.9, "threshold": 0.3, "init_hidden": True, **options})


FACTORIES: dict[str, Callable[[], nn.Module]] = {
    "hard": lambda: Net(lif(), lif(), after_call("v")),
    "hard_resting": lambda: Net(lif(), lif(v_reset=-0.1), after_call("v")),
    "soft": lambda: Net(lif(), neuron.IFNode(0.4, None), after_call("v")),
    "parametric": lambda: Net(lif(), neuron.ParametricLIFNode(v_threshold=0.2, decay_input=False), after_call("v")),
    "synapse": lambda: Net(lif(), neuron.CUBALIFNode(0.5, 0.75, 0.3), after_call("v")),
    "never": lambda: Net(lif(), lif(v_threshold=float("inf")), after_call("v")),
    "derived": lambda: Net(lif(), ReadOut(v_threshold=float("inf")), called),
    "all_steps": lambda: all_steps(Net(lif(), lif(store_v_seq=True), after_call("v_seq"))),
    "derived_all_steps": lambda: all_steps(Net(lif(), ReadOutOfAllSteps(v_threshold=float("inf")), called)),
    "mean_potential": lambda: all_steps(Net(lif(), neuron.NonSpikingLIFNode(3.0, "mean-mem"), called)),
    "largest_potential": lambda: all_steps(Net(lif(), neuron.NonSpikingLIFNode(3.0, "max-mem"), called)),
    "listed": lambda: all_steps(Net(lif(), neuron.NonSpikingIFNode(), lambda net, x: torch.stack(called(net, x)))),
    "added": lambda: Net(lif(), lif(), added),
    "gated": lambda: Net(lif(), lif(), gated),
    "leaky": lambda: Net(leaky(), leaky(output=True), returned),
    "leaky_zero": lambda: Net(leaky(), leaky(output=True, reset_mechanism="zero"), returned),
    "leaky_zero_at_once": lambda: Net(leaky(), leaky(output=True, reset_mechanism="zero", reset_delay=False), returned),
    "leaky_none": lambda: Net(leaky(), leaky(output=True, reset_mechanism="none"), returned),
    "leaky_attribute": lambda: Net(leaky(), leaky(), after_call("mem")),
    "synaptic": lambda: Net(
        leaky(), snntorch.Synaptic(alpha=0.5, beta=0.8, threshold=0.5, init_hidden=True, output=True), returned
    ),
}


def made(name: str) -> nn.Module:
    """A network with seeded weights."""
    torch.manual_seed(0)
    net = FACTORIES[name]()
    with torch.no_grad():
        for weight in (net.fc1.weight, net.fc2.weight):
            weight *= 3
    return net.eval()


def source_of(net: nn.Module, readout: str = "mean") -> Source:
    """The source of a network; frames where it takes all steps at once."""
    event = any(getattr(inner, "step_mode", "s") == "m" for inner in net.modules())
    return captured(net, TimeContract(T, (INPUTS,), event, readout))


def inputs(source: Source, count: int = 24) -> Tensor:
    return 2 * torch.rand(source.program.contract.batch_shape(count), generator=torch.Generator().manual_seed(1)) - 0.5
