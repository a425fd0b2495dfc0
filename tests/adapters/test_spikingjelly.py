"""Neurons of spikingjelly, by spikingjelly's own forward: trained a few steps, converted, every spike compared over T = 8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from snnconv.adapters import neurons_of
from snnconv.errors import Refused
from tests.adapters.conversions import in_turn, loaded, mixed_signs, trained, verified

T = 8
Made = Callable[[], nn.Module]
NEURONS: dict[str, Made] = {
    "if": neuron.IFNode,
    "if_soft": lambda: neuron.IFNode(0.3, None),
    "if_resting": lambda: neuron.IFNode(0.7, -0.2),
    "lif": lambda: neuron.LIFNode(3.0, v_threshold=0.3),
    "lif_undecayed": lambda: neuron.LIFNode(3.0, decay_input=False, v_threshold=0.3),
    "lif_soft": lambda: neuron.LIFNode(1.7, v_threshold=0.3, v_reset=None),
    "lif_resting": lambda: neuron.LIFNode(3.0, v_threshold=0.2, v_reset=0.1),
    "lif_undecayed_resting": lambda: neuron.LIFNode(3.0, decay_input=False, v_threshold=0.2, v_reset=-0.1),
    "plif": lambda: neuron.ParametricLIFNode(v_threshold=0.3),
    "plif_undecayed_soft": lambda: neuron.ParametricLIFNode(3.0, decay_input=False, v_threshold=0.3, v_reset=None),
    "mpbn": lambda: neuron.MPBNLIFNode(3.0, v_threshold=0.3, out_channels=6),
    "mpbn_decayed_soft": lambda: neuron.MPBNLIFNode(2.0, True, 0.3, None, out_channels=6),
    "mpbn_resting": lambda: neuron.MPBNLIFNode(3.0, v_threshold=0.3, v_reset=-0.1, out_channels=6),
    "mpbn_learnable": lambda: neuron.MPBNLIFNode(2.0, v_threshold=0.3, out_channels=6, learnable_vth=True),
    "mpbn_learnable_soft": lambda: neuron.MPBNLIFNode(2.0, v_threshold=0.3, v_reset=None, out_channels=6, learnable_vth=True),
    "cuba": lambda: neuron.CUBALIFNode(0.5, 0.75, 0.3),
    "cuba_soft": lambda: neuron.CUBALIFNode(0.3, 0.6, 0.5, None),
    "mpbn_off": lambda: neuron.MPBNLIFNode(2.0, v_threshold=0.3, out_channels=6, mpbn=False),
}


def network(made: Made) -> nn.Sequential:
    torch.manual_seed(0)
    head = neuron.MPBNLIFNode(2.0, v_threshold=0.3, out_features=10)
    layers = (layer.Conv2d(2, 6, 3), layer.BatchNorm2d(6), made(), layer.AvgPool2d(2), layer.Flatten(), layer.Dropout(0.2))
    net: Any = mixed_signs(nn.Sequential(*layers, layer.Linear(24, 10), head))
    net.timesteps, net.input_shape = T, (2, 6, 6)
    return net


def without_norms(net: nn.Module, **options: bool) -> nn.Module:
    for found in net.modules():
        if isinstance(found, neuron.MPBNLIFNode):
            found.re_parameterize_v_threshold(**options)
    return net


FACTORIES: dict[str, Made] = {name: lambda made=made: network(made) for name, made in NEURONS.items()}
FACTORIES["re_parameterised"] = lambda: without_norms(network(NEURONS["mpbn"]))
FACTORIES["re_parameterised_soft"] = lambda: without_norms(network(NEURONS["mpbn_decayed_soft"]))
FACTORIES["re_parameterised_normalising"] = lambda: without_norms(network(NEURONS["mpbn_resting"]), normalize_residual=True)


def __getattr__(name: str) -> Made:
    """The factories, by name, as `--arch` finds them."""
    try:
        return FACTORIES[name]
    except KeyError:
        raise AttributeError(name) from None


def run(net: nn.Module, x: Tensor) -> Tensor:
    functional.reset_net(net)
    return torch.stack([net(x) for _ in range(T)]).mean(0)


def images(count: int = 20) -> Tensor:
    return 2 * torch.rand(count, 2, 6, 6, generator=torch.Generator().manual_seed(1))


def net_of(name: str) -> nn.Module:
    """Trained as it was before its re-parameterisation, if it had one."""
    if not name.startswith("re_parameterised"):
        return trained(FACTORIES[name](), run, images())
    before = {"": "mpbn", "_soft": "mpbn_decayed_soft", "_normalising": "mpbn_resting"}[name.removeprefix("re_parameterised")]
    return without_norms(trained(FACTORIES[before](), run, images()), normalize_residual=name.endswith("normalising"))


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", FACTORIES)
def test_every_spike_is_spikingjellys(name: str, tmp_path: Path) -> None:
    source = loaded(net_of(name), f"{__name__}:{name}", tmp_path)
    for found in verified(source, tmp_path, images(), in_turn(FACTORIES, name)):
        assert all(0 < tally.spikes_reference < tally.values for tally in found.layers[:-1]), found.layers


def test_the_reference_is_spikingjellys_own_loop(tmp_path: Path) -> None:
    source = loaded(net_of("mpbn_resting"), f"{__name__}:mpbn_resting", tmp_path)
    for _ in range(2):
        with torch.no_grad():
            assert torch.equal(source.run(images()), run(source.module, images()))


WRONG = {
    "starts from v_reset=0.1": lambda: neuron.CUBALIFNode(v_reset=0.1),
    "does not fire spikes": lambda: neuron.LIFNode(surrogate_function=surrogate.Sigmoid(spiking=False)),
    "what is silent and not what fired": lambda: without_norms(
        neuron.MPBNLIFNode(v_reset=None, out_channels=2), normalize_residual=True
    ),
}


@pytest.mark.parametrize("reason", WRONG)
def test_what_no_canonical_neuron_does_is_refused_with_its_reason(reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        neurons_of(nn.Sequential(WRONG[reason]()))


def test_a_node_that_computes_something_else_than_the_one_it_derives_from_is_unknown() -> None:
    assert neurons_of(nn.Sequential(neuron.LIAFNode(torch.relu, False))) == {}
