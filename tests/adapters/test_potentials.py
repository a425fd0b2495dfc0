"""A network that computes with potentials converts: what its layers show after a step is what their frameworks show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import snntorch
import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

from snnconv.adapters import neurons_of, registration
from snnconv.errors import Refused
from snnconv.words import READOUTS
from tests.adapters.conversions import in_turn, verified
from tests.potentials import FACTORIES, Net, added, after_call, called, inputs, leaky, lif, made, source_of

SILENT = ("never", "derived", "derived_all_steps", "mean_potential", "largest_potential", "listed", "leaky_none")


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", FACTORIES)
def test_a_potential_that_is_read_is_exported_and_verified(name: str, tmp_path: Path) -> None:
    source = source_of(made(name), "max" if name == "largest_potential" else "mean")
    assert source.program.neurons["last"].silent == (name in SILENT)
    for found in verified(source, tmp_path, inputs(source), in_turn(FACTORIES, name)):
        first, last, _ = found.layers
        assert 0 < first.spikes_reference < first.values
        assert bool(last.spikes_reference) != (name in SILENT)


@pytest.mark.sample(1)
@pytest.mark.parametrize("readout", READOUTS)
def test_a_potential_is_read_out_like_any_output(readout: str, tmp_path: Path) -> None:
    source = source_of(made("soft"), readout)
    verified(source, tmp_path, inputs(source), (("n.onnx", "sequence"), ("n.ts", "sequence")))


def test_an_output_that_is_the_next_state_too_has_its_own_name(tmp_path: Path) -> None:
    source = source_of(made("listed"))
    verified(source, tmp_path, inputs(source), (("n.onnx", "step"), ("n.ts", "step")))
    outputs = onnx.load(tmp_path / "n.onnx").graph.output
    assert [value.name for value in outputs] == ["y", "next_state.first", "next_state.last"]


def test_the_program_gives_the_frameworks_own_potentials() -> None:
    net = made("hard_resting")
    source = source_of(net)
    x = inputs(source)
    functional.reset_net(net)
    with torch.no_grad():
        own = torch.stack([net(x) for _ in range(source.program.contract.timesteps)]).mean(0)
    torch.testing.assert_close(source.program.run(x), own, rtol=1e-5, atol=1e-6)


class BeforeTheCall(Net):
    """Computes with the potential of the step before."""

    def forward(self, x: Tensor) -> Tensor:
        before = self.first.v
        return self.last(self.fc2(self.first(self.fc1(x)) + before))


class Clipping(neuron.LIFNode):
    """Gives something else than its potential."""

    def single_step_forward(self, x: Tensor) -> Tensor:
        super().single_step_forward(x)
        return self.v.clamp(max=0.1)


REFUSED = {
    "reads its v in test_potentials.py": lambda: BeforeTheCall(lif(), lif(), called),
    r"the network returns torch.float32 of shape \[1, 3, 5\] for a batch of 3": lambda: Net(
        lif(), lif(store_v_seq=True), after_call("v_seq")
    ),
    "subtracts its infinite threshold times 0": lambda: Net(lif(), lif(v_threshold=float("inf"), v_reset=None), after_call("v")),
    "subtracts its infinite threshold": lambda: Net(leaky(), leaky(threshold=float("inf")), after_call("mem")),
    "the largest of all steps": lambda: Net(lif(step_mode="m"), neuron.NonSpikingLIFNode(decode="max-abs-mem"), called),
    "a state of neuron last, and nothing says what that holds": lambda: Net(
        leaky(), snntorch.Synaptic(0.5, 0.8, init_hidden=True, output=True), lambda net, x: called(net, x)[1]
    ),
    "reads its v in potentials.py": lambda: Net(lif(), neuron.MPBNLIFNode(v_threshold=0.3, out_features=5), after_call("v")),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_does_not_follow_from_potential_and_spikes_is_refused(reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        source_of(REFUSED[reason]().eval())


def test_a_layer_that_gives_something_else_is_no_read_out_and_keeps_its_potential() -> None:
    program = source_of(Net(lif(), Clipping(v_threshold=float("inf")), called).eval()).program
    assert list(program.neurons) == ["first"] and program.memories == {"last.v": (5,)}


def test_a_bound_that_only_large_potentials_reach_is_seen() -> None:
    class Bounded(neuron.LIFNode):
        def single_step_forward(self, x: Tensor) -> Tensor:
            super().single_step_forward(x)
            return self.v.clamp(-100, 100)

    assert not neurons_of(nn.Sequential(Bounded(v_threshold=float("inf"))))


def test_a_read_out_that_resets_is_none() -> None:
    class Resetting(neuron.LIFNode):
        def single_step_forward(self, x: Tensor) -> Tensor:
            super().single_step_forward(x)
            return self.v

    assert not neurons_of(nn.Sequential(Resetting(v_threshold=0.3)))


def test_a_network_that_computes_with_a_potential_needs_its_adapter_to_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(registration.ADAPTERS[neuron.LIFNode], shows=lambda layer, u, s: {"v": u})
    monkeypatch.setitem(registration.ADAPTERS, neuron.LIFNode, wrong)
    with pytest.raises(Refused, match="what neuron last is given at step"):
        source_of(Net(lif(), lif(), added).eval())
