"""A network that holds the size of the batch that it was trained on runs on any, and is on that one what it was."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import snntorch
import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn
from torch.nn import functional as F

from snnconv.errors import Refused
from tests.adapters.conversions import in_turn, loaded, verified

batch_size, STEPS = 16, 5
args = Namespace(batch_size=16, T=5)


class OneStep(nn.Module):
    """A convolution, a flattening by the size of the batch and membranes made anew in each call, as in tutorial 6 of snntorch."""

    timesteps, input_shape = STEPS, (1, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lif1 = nn.Conv2d(1, 4, 5), snntorch.Leaky(beta=0.8, threshold=0.3)
        self.fc, self.lif2 = nn.Linear(16, 4), snntorch.Leaky(beta=0.8, threshold=0.3)

    def forward(self, x: Tensor) -> Any:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spk1, mem1 = self.lif1(F.max_pool2d(self.conv(x), 2), mem1)
        spk2, mem2 = self.lif2(self.fc(spk1.view(batch_size, -1)), mem2)
        return spk2


class Held(nn.Module):
    """The same size in an attribute, and a loop over the steps of an image."""

    input_shape = (1, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.batch_size = 16
        self.fc1, self.lif1 = nn.Linear(64, 12), neuron.LIFNode(v_threshold=0.3)
        self.fc2, self.lif2 = nn.Linear(12, 4), neuron.LIFNode(v_threshold=0.2)

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        total = torch.zeros(self.batch_size, 4)
        for _ in range(args.T):
            total = total + self.lif2(self.fc2(self.lif1(self.fc1(x.view(self.batch_size, -1)))))
        return total


class Frames(Held):
    """Frames, time first, and the size in a namespace."""

    def __init__(self) -> None:
        super().__init__()
        del self.batch_size

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        steps = [self.lif2(self.fc2(self.lif1(self.fc1(frame.reshape(args.batch_size, 64))))) for frame in x]
        return torch.stack(steps)


NETWORKS: dict[type[nn.Module], tuple[str, str, Callable[[Any, Tensor], Tensor]]] = {
    OneStep: ("static", "the global batch_size", lambda net, x: net(x)),
    Held: ("static", "self.batch_size", lambda net, x: net(x)),
    Frames: ("event", "args.batch_size", lambda net, x: net(x.transpose(0, 1)).mean(0)),
}
"""Each network with what it is shown, where the size stands, and its output on a batch of that."""


def lively(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    net = kind()
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                layer.weight.mul_(3)
    return net


@pytest.mark.sample(2)
@pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.__name__)
def test_the_size_of_the_batch_is_that_of_the_batch_that_is_given(
    kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("snnconv.sources.factory.imported", lambda arch, called: lambda: lively(kind))
    shown, where, output = NETWORKS[kind]
    source = loaded(lively(kind), "net:make", tmp_path, input=shown, timesteps=STEPS)
    note = next(note for note in source.notes if note.startswith("the size of its batch, 16 in "))
    assert where in note and note.endswith(", is that of the batch that the network is given")
    shape = (STEPS, 1, 8, 8) if shown == "event" else (1, 8, 8)
    x = 2 * torch.rand(16, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = output(lively(kind).eval(), x)
    assert expected.std() > 0.05, "a network that is silent shows nothing"
    for run in (source.run, source.program.run):
        torch.testing.assert_close(run(x), expected)
        torch.testing.assert_close(run(x[3:10]), expected[3:10])
        torch.testing.assert_close(run(x[5:6]), expected[5:6])
    verified(source, tmp_path, x[:7], in_turn([each.__name__ for each in NETWORKS], kind.__name__)[:1])
    assert (batch_size, args.batch_size) == (16, 16)


class Mixing(Held):
    """Its size is one of the batch, and it means over it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.sum(0, keepdim=True) / self.batch_size)


class Scaling(Held):
    """Its size scales what it computes."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.batch_size)


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", [Mixing, Scaling])
def test_a_size_that_is_more_than_a_shape_is_refused(
    kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("snnconv.sources.factory.imported", lambda arch, called: lambda: lively(kind))
    with pytest.raises(Refused, match="the batch"):
        loaded(lively(kind), "net:make", tmp_path)
