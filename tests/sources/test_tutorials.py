"""Networks in the style of every tutorial of snntorch convert as they stand, however many of them one process has made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import snntorch
import torch
from snntorch import spikegen, utils
from torch import Tensor, nn

from snnconv.errors import Refused
from tests.adapters.conversions import in_turn, loaded, verified

num_steps, beta = 6, 0.8


class Loop(nn.Module):
    """Tutorial 5: the loop inside, spikes and membranes stacked."""

    input_shape = (10,)

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(10, 12), snntorch.Leaky(beta=beta)
        self.fc2, self.lif2 = nn.Linear(12, 4), snntorch.Leaky(beta=beta)

    def frames(self, x: Tensor) -> Any:
        return [x] * num_steps

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spk2_rec, mem2_rec = [], []
        for frame in self.frames(x):
            spk1, mem1 = self.lif1(self.fc1(frame.flatten(1)), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec, dim=0), torch.stack(mem2_rec, dim=0)


class Given(Loop):
    """Tutorial 3: the spikes of all steps are given."""

    def frames(self, x: Tensor) -> Any:
        return [x[step] for step in range(num_steps)]


class Kept(Loop):
    """The potentials stay in the layers, which the forward resets."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.lif1.reset_mem()
        self.lif2.reset_mem()
        spikes, membranes = [], []
        for _ in range(num_steps):
            spk1, _ = self.lif1(self.fc1(x))
            spk2, mem2 = self.lif2(self.fc2(spk1))
            spikes.append(spk2)
            membranes.append(mem2)
        return torch.stack(spikes), torch.stack(membranes)


class Synaptic(nn.Module):
    """Tutorial 4: a synaptic current."""

    input_shape = (10,)

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(10, 12), snntorch.Synaptic(alpha=0.9, beta=0.8)
        self.fc2, self.lif2 = nn.Linear(12, 4), snntorch.Synaptic(alpha=0.9, beta=0.8)

    def forward(self, x: Tensor) -> Tensor:
        syn1, mem1 = self.lif1.init_synaptic()
        syn2, mem2 = self.lif2.init_synaptic()
        spikes = []
        for _ in range(num_steps):
            spk1, syn1, mem1 = self.lif1(self.fc1(x), syn1, mem1)
            spk2, syn2, mem2 = self.lif2(self.fc2(spk1), syn2, mem2)
            spikes.append(spk2)
        return torch.stack(spikes)


class Alpha(nn.Module):
    """Tutorial 4: an alpha neuron."""

    input_shape = (10,)

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(10, 4), snntorch.Alpha(alpha=0.9, beta=0.8, threshold=0.3)

    def forward(self, x: Tensor) -> Tensor:
        exc, inh, mem = self.lif.init_alpha()
        spikes = []
        for _ in range(num_steps):
            spk, exc, inh, mem = self.lif(self.fc(x), exc, inh, mem)
            spikes.append(spk)
        return torch.stack(spikes)


def hidden(output: bool = False, threshold: float = 1.0) -> nn.Module:
    return snntorch.Leaky(beta=beta, init_hidden=True, output=output, threshold=threshold)


class Sequential(nn.Module):
    """Tutorials 6 and 7 as the forward pass around their `nn.Sequential`."""

    input_shape = (1, 12, 12)

    def __init__(self) -> None:
        super().__init__()
        first = (nn.Conv2d(1, 4, 5), nn.MaxPool2d(2), hidden())
        second = (nn.Conv2d(4, 6, 3), nn.MaxPool2d(2), hidden())
        self.net = nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(6, 4), hidden(output=True))

    def forward(self, data: Tensor) -> Tensor:
        spikes = []
        utils.reset(self.net)
        for step in range(data.size(0)):
            spk_out, _ = self.net(data[step])
            spikes.append(spk_out)
        return torch.stack(spikes)


class Shown(Sequential):
    """The same, with the image of all steps."""

    def forward(self, data: Tensor) -> Any:
        spikes, membranes = [], []
        utils.reset(self.net)
        for _ in range(num_steps):
            spk_out, mem_out = self.net(data)
            spikes.append(spk_out)
            membranes.append(mem_out)
        return torch.stack(spikes), torch.stack(membranes)


class Regression(nn.Module):
    """Regression 1, as in its notebook: the hidden neurons are called by the layer of the output, which stands in two places."""

    input_shape = (1,)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.timesteps = num_steps
        self.fc_in = nn.Linear(1, 12)
        self.lif_in = snntorch.Leaky(beta=torch.rand(12), threshold=torch.rand(12), learn_beta=True)
        self.fc_hidden, self.lif_hidden = nn.Linear(12, 12), snntorch.Leaky(beta=torch.rand(12), learn_beta=True)
        self.fc_out = nn.Linear(12, 1)
        self.li_out = snntorch.Leaky(beta=torch.rand(1), threshold=1.0, learn_beta=True, reset_mechanism="none")
        with torch.no_grad():
            self.fc_hidden.weight.mul_(4)

    def forward(self, x: Tensor) -> Tensor:
        mem_1, mem_2, mem_3 = self.lif_in.init_leaky(), self.lif_hidden.init_leaky(), self.li_out.init_leaky()
        membranes = []
        for step in range(self.timesteps):
            spk_in, mem_1 = self.lif_in(self.fc_in(x[step, :, :]), mem_1)
            spk_hidden, mem_2 = self.li_out(self.fc_hidden(spk_in), mem_2)
            _, mem_3 = self.li_out(self.fc_out(spk_hidden), mem_3)
            membranes.append(mem_3)
        return torch.stack(membranes)


class Recurrent(nn.Module):
    """Regression 2: recurrent neurons."""

    input_shape = (10,)

    def __init__(self, timesteps: int = num_steps) -> None:
        super().__init__()
        self.timesteps = timesteps
        self.fc1, self.rlif1 = nn.Linear(10, 12), snntorch.RLeaky(beta=0.9, linear_features=12)
        self.fc2, self.rlif2 = nn.Linear(12, 4), snntorch.RLeaky(beta=0.9, linear_features=4)

    def forward(self, x: Tensor) -> Tensor:
        (spk1, mem1), (spk2, mem2) = self.rlif1.init_rleaky(), self.rlif2.init_rleaky()
        spikes = []
        for _ in range(self.timesteps):
            spk1, mem1 = self.rlif1(self.fc1(x), spk1, mem1)
            spk2, mem2 = self.rlif2(self.fc2(spk1), spk2, mem2)
            spikes.append(spk2)
        return torch.stack(spikes)


class Autoencoder(nn.Module):
    """The tutorial of the autoencoder: two loops, the second over what the first recorded, and the last membrane."""

    input_shape = (1, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        first = (nn.Conv2d(1, 4, 3, padding=1, stride=2), nn.BatchNorm2d(4), hidden(threshold=0.5))
        second = (nn.Conv2d(4, 6, 3, padding=1, stride=2), nn.BatchNorm2d(6), hidden(threshold=0.5))
        self.encoder = nn.Sequential(*first, *second, nn.Flatten(1, end_dim=3), nn.Linear(24, 8), hidden(True, 0.5))
        self.linear = nn.Sequential(nn.Linear(8, 24), hidden(True, 0.5))
        up = nn.ConvTranspose2d(6, 1, 3, padding=1, stride=4, output_padding=3)
        self.decoder = nn.Sequential(nn.Unflatten(1, (6, 2, 2)), hidden(threshold=0.5), up, hidden(True, 20000))

    def forward(self, x: Tensor) -> Tensor:
        for net in (self.encoder, self.decoder, self.linear):
            utils.reset(net)
        spikes = torch.stack([self.encoder(x)[0] for _ in range(num_steps)], dim=2)
        membranes = [self.decoder(self.linear(spikes[..., step])[0])[1] for step in range(num_steps)]
        return torch.stack(membranes, dim=4)[:, :, :, :, -1]


TUTORIALS: dict[type[nn.Module], tuple[str, Callable[[Any, Tensor], Tensor]]] = {
    Loop: ("static", lambda net, x: net(x)[0].mean(0)),
    Given: ("event", lambda net, x: net(x.transpose(0, 1))[0].mean(0)),
    Kept: ("static", lambda net, x: net(x)[0].mean(0)),
    Synaptic: ("static", lambda net, x: net(x).mean(0)),
    Alpha: ("static", lambda net, x: net(x).mean(0)),
    Sequential: ("event", lambda net, x: net(x.transpose(0, 1)).mean(0)),
    Shown: ("static", lambda net, x: net(x)[0].mean(0)),
    Regression: ("event", lambda net, x: net(x.transpose(0, 1)).mean(0)),
    Recurrent: ("static", lambda net, x: net(x).mean(0)),
    Autoencoder: ("static", lambda net, x: net(x)),
}
"""Each network with what it is shown, and its output."""


def lively(kind: Callable[[], nn.Module]) -> nn.Module:
    """A network whose weights make its neurons fire."""
    torch.manual_seed(0)
    net = kind()
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                layer.weight.mul_(3)
    return net


@pytest.fixture
def arch(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], nn.Module]], nn.Module]:
    """Lets the factory that is named give a network."""

    def named(kind: Callable[[], nn.Module]) -> nn.Module:
        monkeypatch.setattr("snnconv.sources.factory.imported", lambda arch, called: lambda: lively(kind))
        return lively(kind)

    return named


@pytest.mark.sample(2)
@pytest.mark.parametrize("kind", TUTORIALS, ids=lambda kind: kind.__name__)
def test_a_network_of_a_tutorial_converts_as_it_stands(kind: Any, arch: Any, tmp_path: Path) -> None:
    shown, output = TUTORIALS[kind]
    steps = {"timesteps": num_steps} if shown == "event" else {}
    source = loaded(arch(kind), "net:make", tmp_path, input=shown, **steps)
    assert source.program.contract.timesteps == num_steps
    shape = (num_steps, *kind.input_shape) if shown == "event" else kind.input_shape
    x = 2 * torch.rand(8, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = output(lively(kind).eval(), x)
    assert expected.std() > 0.05, "a network that is silent shows nothing"
    torch.testing.assert_close(source.program.run(x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(source.run(x), expected, rtol=1e-4, atol=1e-4)
    verified(source, tmp_path, x, in_turn([each.__name__ for each in TUTORIALS], kind.__name__)[:1])


@pytest.mark.parametrize("output", ["0", "1"])
def test_the_sequential_network_alone_is_one_step(output: str, arch: Any, tmp_path: Path) -> None:
    def population() -> nn.Module:
        return nn.Sequential(nn.Linear(10, 12), hidden(), nn.Linear(12, 20), hidden(output=True))

    options: dict[str, Any] = {"input_shape": (10,), "timesteps": num_steps, "output": output}
    source = loaded(arch(population), "net:make", tmp_path, **options)
    net, x = lively(population).eval(), 2 * torch.rand(8, 10, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = torch.stack([net(x)[int(output)] for _ in range(num_steps)]).mean(0)
    torch.testing.assert_close(source.program.run(x), expected)


def test_one_network_after_the_other_resets_itself_alone(arch: Any, tmp_path: Path) -> None:
    """`utils.reset` reaches every neuron that the process has made: nothing of one capture stays behind for the next."""
    for _ in range(2):
        assert loaded(arch(Shown), "net:make", tmp_path).settings["timesteps"] == "6 (network)"


@pytest.mark.parametrize("encode", [spikegen.rate, spikegen.rate_conv])
def test_an_encoder_that_draws_is_refused_with_its_line(encode: Callable[..., Tensor], arch: Any, tmp_path: Path) -> None:
    class Encoding(Loop):
        def frames(self, x: Tensor) -> Any:
            rates = x.clamp(0, 1)
            return encode(rates, num_steps=num_steps) if encode is spikegen.rate else [encode(rates)] * num_steps

    with pytest.raises(Refused, match=r"draws random numbers at inference, in test_tutorials.py line \d+ \(return encode"):
        loaded(arch(Encoding), "net:make", tmp_path)


class OneStep(Loop):
    """One neuron for all layers, handed the states of each."""

    timesteps = num_steps

    def __init__(self) -> None:
        super().__init__()
        self.lif = snntorch.Leaky(beta=beta, threshold=0.5)
        self.fc3 = nn.Linear(4, 4)

    def forward(self, x: Tensor, mem1: Tensor, mem2: Tensor, mem3: Tensor) -> Any:  # type: ignore[override]
        spk, mem1 = self.lif(self.fc1(x), mem1)
        spk, mem2 = self.lif(self.fc2(spk), mem2)
        spk, mem3 = self.lif(self.fc3(spk), mem=mem3)
        return spk, mem1, mem2, mem3


class OverSteps(OneStep):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        states = [self.lif.init_leaky() for _ in range(3)]
        spikes = []
        for _ in range(num_steps):
            spk, *states = super().forward(x, *states)
            spikes.append(spk)
        return torch.stack(spikes)


class Unhanded(OverSteps):
    """Hands nothing over: all places share the potential in the layer."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        self.lif.reset_mem()
        spikes = []
        for _ in range(num_steps):
            spk, _ = self.lif(self.fc1(x))
            spk, _ = self.lif(self.fc1(x) + spk)
            spikes.append(self.lif2(self.fc2(spk), self.lif2.init_leaky())[0])
        return torch.stack(spikes)


@pytest.mark.parametrize("kind", [OneStep, OverSteps])
def test_one_neuron_that_is_handed_the_states_of_all_layers_is_a_neuron_for_each(
    kind: type[nn.Module], arch: Any, tmp_path: Path
) -> None:
    source = loaded(arch(kind), "net:make", tmp_path)
    assert source.notes == ("lif (Leaky) stands in 3 places and is handed the state of each: a neuron for each",)
    assert list(source.program.neurons) == ["lif.0", "lif.1", "lif.2"]
    x = 2 * torch.rand(8, 10, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = lively(OverSteps).eval()(x).mean(0)
    assert expected.std() > 0.05, "a network that is silent shows nothing"
    torch.testing.assert_close(source.program.run(x), expected)
    torch.testing.assert_close(source.run(x), expected)


def test_places_that_share_a_potential_are_refused(arch: Any, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"neuron lif runs for 12 steps, and lif2 for 6.*give each place its own neuron"):
        loaded(arch(Unhanded), "net:make", tmp_path)
