"""A network that nobody knows yet is called in every way in which it may be, so that what stands in it is seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnconv.capture import probing_batch
from snnconv.first_look.calls import calls
from snnconv.ir.program import TimeContract
from tests.adapters.conversions import loaded, verified


class Own(nn.Module):
    """A neuron that nobody taught."""

    def __init__(self) -> None:
        super().__init__()
        self.mem: Any = None

    def forward(self, x: Tensor) -> Tensor:
        self.mem = x if self.mem is None else 0.5 * self.mem + x
        spikes = (self.mem > 0.4).to(x.dtype)
        self.mem = self.mem * (1 - spikes)
        return spikes


class Net(nn.Module):
    input_shape = (6,)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.T = 6
        self.fc1, self.lif, self.fc2 = nn.Linear(6, 12), Own(), nn.Linear(12, 4)

    def step(self, x: Tensor) -> Any:
        return self.fc2(self.lif(self.fc1(x)))


class ToldHowMany(Net):
    def forward(self, x: Tensor, num_steps: int) -> Tensor:
        self.lif.mem = None
        return torch.stack([self.step(x) for _ in range(num_steps)]).mean(0)


class ToldHowManyFrames(Net):
    def forward(self, x: Tensor, *, time_steps: int) -> Tensor:
        self.lif.mem = None
        return torch.stack([self.step(x[t]) for t in range(time_steps)])


class Frames(Net):
    def forward(self, x: Tensor) -> Tensor:
        self.lif.mem = None
        return torch.stack([self.step(x[:, t]) for t in range(self.T)]).mean(0)


class Merged(Net):
    def forward(self, x: Tensor) -> Tensor:
        self.lif.mem = None
        current = self.fc1(x.flatten(0, 1)).view(self.T, -1, 12)
        return torch.stack([self.fc2(self.lif(each)) for each in current]).mean(0)


class Counted(Net):
    """One step a call, which is told its number."""

    def forward(self, x: Tensor, step: int) -> Tensor:
        if step == 0:
            self.lif.mem = None
        return self.step(x)


NETWORKS: dict[str, tuple[type[Net], str, dict[str, Any], Any]] = {
    "a forward that must be told T": (ToldHowMany, "static", {}, lambda net, x: net(x, 4)),
    "frames, and T by name": (ToldHowManyFrames, "event", {}, lambda net, x: net(x.transpose(0, 1), time_steps=4).mean(0)),
    "T in an attribute": (Frames, "event", {}, lambda net, x: net(x)),
    "T merged with the batch": (Merged, "event", {}, lambda net, x: net(x.transpose(0, 1))),
    "a forward that must be told the step": (
        Counted,
        "static",
        {},
        lambda net, x: torch.stack([net(x, t) for t in range(4)]).mean(0),
    ),
}


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_neuron_that_nobody_taught_is_found_in_it(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kind, given, options, run = NETWORKS[name]
    monkeypatch.setattr("snnconv.sources.factory.imported", lambda arch, called: kind)
    source = loaded(kind(), "net:make", tmp_path, input=given, **options)
    assert source.program.neurons.keys() == {"lif"}
    steps = source.program.contract.timesteps
    x = torch.rand(5, *([steps] if given == "event" else []), 6, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = run(kind().eval(), x)
    assert expected.std() > 0.05
    torch.testing.assert_close(source.program.run(x), expected)
    verified(source, tmp_path, x)


def test_calls_tell_the_batch_from_every_other_size() -> None:
    net, contract = Net(), TimeContract(4, (6,))
    each = list(calls(net, contract))
    assert {call.steps for call in each} == {4, 6}, "the T of the contract, and that in its code"
    assert {call.batch for call in each} == {probing_batch(net, contract)} and 6 != each[0].batch != 4
    assert {(call.layout, call.steps) for call in each} == {(way, t) for way in _LAYOUTS for t in (4, 6)}


def test_a_call_leaves_its_input_as_it_is() -> None:
    call = next(calls(Net(), TimeContract(4, (6,))))
    before = call.inputs[0].clone()
    call(_InPlace())
    assert torch.equal(call.inputs[0], before)


class _InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(0)


_LAYOUTS = ("image", "time first", "batch first", "time last")
