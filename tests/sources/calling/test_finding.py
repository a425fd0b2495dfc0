"""However a network goes over time, its program computes what its own forward returns, without a word from the user."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import snntorch
import snntorch.utils
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

from snnconv.errors import InputError, Refused
from snnconv.sources import Source
from tests.adapters.conversions import in_turn, loaded, verified

STEPS = 5
num_steps = 5
"""A T that stands in the module."""


class Net(nn.Module):
    """Two leaky neurons of snntorch, which are handed their membranes."""

    timesteps: int | None = None
    input_shape = (6,)

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(6, 8), snntorch.Leaky(beta=0.8, threshold=0.4)
        self.fc2, self.lif2 = nn.Linear(8, 4), snntorch.Leaky(beta=0.8, threshold=0.3)

    def begin(self) -> tuple[Tensor, Tensor]:
        return self.lif1.reset_mem(), self.lif2.reset_mem()

    def one(self, x: Tensor, mem1: Tensor, mem2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        spk1, mem1 = self.lif1(self.fc1(x), mem1)
        spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
        return spk2, mem1, mem2

    def over(self, frames: Any) -> list[Tensor]:
        (mem1, mem2), spikes = self.begin(), []
        for x in frames:
            spk, mem1, mem2 = self.one(x, mem1, mem2)
            spikes.append(spk)
        return spikes


class Attribute(Net):
    def __init__(self) -> None:
        super().__init__()
        self.num_steps = STEPS

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(self.over(x for _ in range(self.num_steps)))


class Repeat(nn.Module):
    """T in an attribute of an unusual name."""

    def __init__(self) -> None:
        super().__init__()
        self.often = STEPS

    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(0).repeat(self.often, 1, 1)


class InLayers(Net):
    """T in a layer of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.repeat = Repeat()

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(self.over(self.repeat(x)))


class Argument(Net):
    timesteps = STEPS

    def forward(self, x: Tensor, num_steps: int) -> Tensor:
        return torch.stack(self.over(x for _ in range(num_steps))).sum(0)


class Default(Net):
    def forward(self, x: Tensor, time_window: int = STEPS) -> Tensor:
        return torch.stack(self.over(x.expand(time_window, *x.shape))).mean(0)


class Local(Net):
    def forward(self, x: Tensor) -> Tensor:
        steps = 5
        (mem1, mem2), spikes = self.begin(), []
        for _ in range(steps):
            spk, mem1, mem2 = self.one(x, mem1, mem2)
            spikes.append(spk)
        return sum(spikes) / steps  # type: ignore[return-value]


class Written(Net):
    """T is a number in a call, beside an equal number that means something else."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(self.over(x.unsqueeze(0).repeat(5, 1, 1)))


class OfTheModule(Net):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(self.over([x] * num_steps), 1)


def around(steps: int) -> Callable[[Net, Tensor], Tensor]:
    def forward(self: Net, x: Tensor) -> Tensor:
        return torch.stack(self.over([x] * steps))[-1]

    return forward


class Around(Net):
    forward = around(STEPS)


class While(Net):
    def __init__(self) -> None:
        super().__init__()
        self.T = STEPS

    def forward(self, x: Tensor) -> Tensor:
        (mem1, mem2), total, t = self.begin(), torch.zeros(len(x), 4), 0
        while t < self.T:
            spk, mem1, mem2 = self.one(x, mem1, mem2)
            total, t = total + spk, t + 1
        return total


class Listed(Net):
    """A list of the outputs of all steps."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.over(x for _ in range(5))


Out = namedtuple("Out", "logits features")


class Named(Net):
    def forward(self, x: Tensor) -> Out:
        spikes = torch.stack(self.over(x for _ in range(5)))
        return Out(spikes.mean(0), spikes)


class Heads(Net):
    def forward(self, x: Tensor) -> dict[str, Any]:
        spikes = torch.stack(self.over(x for _ in range(5)))
        return {"classes": spikes.sum(0), "count": 5, "more": (spikes, 2 * spikes[..., 2:])}


class Both(Net):
    """Spikes and membranes of the last layer, as in the tutorials of snntorch."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        (mem1, mem2), spikes, membranes = self.begin(), [], []
        for _ in range(5):
            spk, mem1, mem2 = self.one(x, mem1, mem2)
            spikes.append(spk)
            membranes.append(mem2)
        return torch.stack(spikes), torch.stack(membranes)


class Regression(Net):
    """One number a sample."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(self.over(x for _ in range(5))).mean(0)[:, 2]


class Largest(Net):
    """Gives the largest of what it read out at all steps."""

    def forward(self, x: Tensor) -> Tensor:
        spikes = torch.stack(self.over(x for _ in range(5)))
        return (spikes + 0.1 * torch.roll(spikes, 1, 2)).max(0)[0]


class LargestBehind(Net):
    """The same along dimension 1."""

    def forward(self, x: Tensor) -> Tensor:
        spikes = torch.stack(self.over(x for _ in range(5)), 1)
        return torch.amax(spikes - 0.3 * torch.roll(spikes, 1, 2), dim=1)


class Optional(Net):
    """One step a call; the states may be left out."""

    timesteps = STEPS

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        mem1, mem2 = self.begin() if state is None else state
        spk, mem1, mem2 = self.one(x, mem1, mem2)
        return spk, (mem1, mem2)


class Nested(Net):
    """One step a call; the output is a pair, and the states come in another order than they go."""

    timesteps = STEPS

    def forward(self, x: Tensor, first: Tensor, second: Tensor) -> Any:
        spk, mem1, mem2 = self.one(x, first, second)
        return mem2, (spk, spk + 1), mem1


class Anew(Net):
    """One step a call, which makes its states anew."""

    timesteps = STEPS

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        spk, _, mem2 = self.one(x, *self.begin())
        return spk, mem2


class ResetsAll(nn.Module):
    """Resets by snntorch's own means, which reach every neuron that was ever made, and computes with the last membrane."""

    input_shape = (6,)

    def __init__(self) -> None:
        super().__init__()
        hidden = snntorch.Leaky(beta=0.8, threshold=0.4, init_hidden=True)
        last = snntorch.Leaky(beta=0.8, threshold=1e4, init_hidden=True, output=True)
        self.net = nn.Sequential(nn.Linear(6, 8), hidden, nn.Linear(8, 4), last)

    def forward(self, x: Tensor) -> Tensor:
        snntorch.utils.reset(self.net)
        return torch.stack([self.net(x)[1] for _ in range(STEPS)])[-1]


def stacked(y: Any) -> Tensor:
    return torch.stack(list(y)).mean(0)


def in_turns(net: Any, x: Tensor) -> Tensor:
    state, spikes = None, []
    for _ in range(STEPS):
        spk, state = net(x, state)
        spikes.append(spk)
    return stacked(spikes)


def crossed(net: Any, x: Tensor) -> Tensor:
    (first, second), spikes = net.begin(), []
    for _ in range(STEPS):
        second, (spk, _), first = net(x, first, second)
        spikes.append(spk)
    return stacked(spikes)


IMAGE: dict[type[nn.Module], Callable[[Any, Tensor], Tensor]] = {
    Attribute: lambda net, x: stacked(net(x)),
    InLayers: lambda net, x: stacked(net(x)),
    Argument: lambda net, x: net(x, STEPS),
    Default: lambda net, x: net(x),
    Local: lambda net, x: net(x),
    Written: lambda net, x: stacked(net(x)),
    OfTheModule: lambda net, x: net(x).mean(1),
    Around: lambda net, x: net(x),
    While: lambda net, x: net(x),
    Listed: lambda net, x: stacked(net(x)),
    Both: lambda net, x: stacked(net(x)[0]),
    Regression: lambda net, x: net(x),
    Largest: lambda net, x: net(x),
    LargestBehind: lambda net, x: net(x),
    Optional: in_turns,
    Anew: lambda net, x: net(x)[0],
    ResetsAll: lambda net, x: net(x),
}
"""How each network is called on an image, written down without snnconv."""


def factory(kind: type[nn.Module]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        torch.manual_seed(0)
        net = kind()
        with torch.no_grad():
            for linear in (m for m in net.modules() if isinstance(m, nn.Linear)):
                linear.weight.mul_(3)
        return net

    return make


def __getattr__(name: str) -> Callable[[], nn.Module]:
    """The factories, as `--arch` finds them: `of_KIND`."""
    if name.startswith("of_") and name[3:] in globals():
        return factory(globals()[name[3:]])
    raise AttributeError(name)


def source_of(kind: type[nn.Module], folder: Path, **options: object) -> Source:
    return loaded(factory(kind)(), f"{__name__}:of_{kind.__name__}", folder, **options)


def images(count: int = 12) -> Tensor:
    return 2 * torch.rand(count, 6, generator=torch.Generator().manual_seed(1))


def movies(count: int = 12) -> Tensor:
    return 2 * torch.rand(count, STEPS, 6, generator=torch.Generator().manual_seed(2))


def ensure_same(y: Tensor, expected: Tensor) -> None:
    assert expected.std() > 0.05, "a network that is silent shows nothing"
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.sample(3)
@pytest.mark.parametrize("kind", IMAGE, ids=lambda kind: kind.__name__)
def test_a_network_that_shows_itself_an_image_is_its_program(kind: type[nn.Module], tmp_path: Path) -> None:
    source = source_of(kind, tmp_path)
    assert source.program.contract.timesteps == STEPS or kind is Anew
    with torch.no_grad():
        expected = IMAGE[kind](factory(kind)().eval(), images())
    ensure_same(source.program.run(images()), expected)
    ensure_same(source.run(images()), expected)
    if kind is not Anew or in_turn(["Anew"], "Anew"):
        verified(source, tmp_path, images(), in_turn([k.__name__ for k in IMAGE], kind.__name__)[:1])


def test_what_follows_from_the_network_is_said(tmp_path: Path) -> None:
    settings = source_of(While, tmp_path).settings
    assert (settings["timesteps"], settings["readout"]) == ("5 (network)", "sum (network)")


@pytest.mark.sample(3)
@pytest.mark.parametrize("kind", [Attribute, Default, OfTheModule, Around, Local, While], ids=lambda kind: kind.__name__)
def test_a_network_runs_for_the_steps_that_are_asked_for(kind: type[Net], tmp_path: Path) -> None:
    source = source_of(kind, tmp_path, timesteps=7)
    assert source.program.contract.timesteps == 7
    frames = factory(kind)().eval().over([images()] * 7)
    expected = {"mean": torch.stack(frames).mean(0), "sum": sum(frames), "last": frames[-1]}[source.program.contract.readout]
    with torch.no_grad():
        ensure_same(source.run(images()), expected / 5 if kind is Local else expected)  # it divides by a number of its own


def test_the_steps_of_a_factory_that_its_loop_contradicts_are_refused_with_both_numbers(tmp_path: Path) -> None:
    def contradicting() -> nn.Module:
        net: Any = factory(Listed)()
        net.timesteps = 4
        return net

    globals()["of_contradicting"] = contradicting
    try:
        with pytest.raises(Refused, match=r"runs for 5 time steps .*, and timesteps is 4 \(factory\); pass --timesteps 5"):
            loaded(contradicting(), f"{__name__}:of_contradicting", tmp_path)
    finally:
        del globals()["of_contradicting"]


class TimeFirst(Net):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(self.over(x[t] for t in range(x.size(0))))


class TimeFirstWritten(Net):
    """It always takes five frames."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(self.over(x[t] for t in range(5))).mean(0)


class BatchFirst(Net):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(self.over(x[:, t] for t in range(x.shape[1])), 1)


class Unbound(Net):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(self.over(x.unbind(1)))[-1]


class TimeLast(Net):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(self.over(x[..., t] for t in range(x.shape[-1])), -1)


class Merged(nn.Module):
    """Layers that take all steps at once, and a plain one on time and batch merged."""

    input_shape = (6,)

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(6, 8), neuron.LIFNode(v_threshold=0.4, step_mode="m")
        self.fc2, self.lif2 = layer.Linear(8, 4, step_mode="m"), neuron.LIFNode(v_threshold=0.3, step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        x = x.transpose(0, 1)
        steps, batch = x.shape[:2]
        x = self.lif1(self.fc1(x.flatten(0, 1)).reshape(steps, batch, -1))
        return self.lif2(self.fc2(x)).transpose(0, 1)


FRAMES: dict[type[nn.Module], Callable[[Any, Tensor], Tensor]] = {
    TimeFirst: lambda net, x: net(x.transpose(0, 1)).mean(0),
    TimeFirstWritten: lambda net, x: net(x.transpose(0, 1)),
    BatchFirst: lambda net, x: net(x).mean(1),
    Unbound: lambda net, x: net(x),
    TimeLast: lambda net, x: net(x.permute(0, 2, 1)).mean(-1),
    Merged: lambda net, x: net(x).mean(1),
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("kind", FRAMES, ids=lambda kind: kind.__name__)
def test_a_network_that_is_shown_frames_is_its_program(kind: type[nn.Module], tmp_path: Path) -> None:
    fixed = {} if kind is TimeFirstWritten else {"timesteps": STEPS}
    source = source_of(kind, tmp_path, input="event", **fixed)
    assert source.program.contract.timesteps == STEPS
    with torch.no_grad():
        expected = FRAMES[kind](factory(kind)().eval(), movies())
    ensure_same(source.program.run(movies()), expected)
    verified(source, tmp_path, movies(), in_turn([k.__name__ for k in FRAMES], kind.__name__)[:1])


OUTPUTS: dict[tuple[type[Net], str], Callable[[Any, Tensor], Tensor]] = {
    (Named, "logits"): lambda net, x: net(x).logits,
    (Named, "features"): lambda net, x: net(x).features.mean(0),
    (Heads, "classes"): lambda net, x: net(x)["classes"],
    (Heads, "more.1"): lambda net, x: net(x)["more"][1].mean(0),
    (Both, "0"): lambda net, x: net(x)[0].mean(0),
    (Nested, "1.0"): crossed,
}


@pytest.mark.parametrize(("kind", "name"), OUTPUTS, ids=lambda part: part if isinstance(part, str) else part.__name__)
def test_the_output_that_is_asked_for_is_converted(kind: type[Net], name: str, tmp_path: Path) -> None:
    source = source_of(kind, tmp_path, output=name)
    with torch.no_grad():
        expected = OUTPUTS[kind, name](factory(kind)().eval(), images())
    ensure_same(source.program.run(images()), expected)
    assert source.settings["output"] == f"{name} (option)"


def test_of_spikes_and_membranes_the_spikes_are_taken_and_that_is_said(tmp_path: Path) -> None:
    source = source_of(Both, tmp_path)
    assert source.settings["output"] == "0 (default)"
    assert source.notes == ("output 0, the spikes, was taken; 1 was left out (--output)",)


class Twice(Net):
    """Returns its output twice, and the loss that goes with it."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = torch.stack(self.over(x for _ in range(5))).mean(0)
        return mean, mean, mean.square().sum()


def test_an_output_that_is_returned_twice_beside_a_number_is_the_only_one(tmp_path: Path) -> None:
    source = source_of(Twice, tmp_path)
    with torch.no_grad():
        expected = factory(Twice)().eval()(images())[0]
    ensure_same(source.program.run(images()), expected)
    assert not source.notes


class InPlace(Net):
    """Changes the image that it is given."""

    def forward(self, x: Tensor) -> Tensor:
        x.unsqueeze_(1).mul_(0.5)
        return torch.stack(self.over(x.repeat(1, STEPS, 1).unbind(1)))


def test_a_network_may_change_its_input_in_place(tmp_path: Path) -> None:
    source, before = source_of(InPlace, tmp_path), images()
    with torch.no_grad():
        expected = factory(InPlace)().eval()(images()).mean(0)
    ensure_same(source.program.run(images()), expected)
    for _ in range(2):
        ensure_same(source.run(before), expected)


def test_several_outputs_are_listed_if_none_is_asked_for(tmp_path: Path) -> None:
    listed = r"has 3 outputs: classes \[\d+, 4\]; more.0 \[5, \d+, 4\]; more.1 \[5, \d+, 2\]; choose one, as in --output classes"
    with pytest.raises(Refused, match=listed):
        source_of(Heads, tmp_path)


def test_an_output_that_there_is_not_is_an_error_that_names_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no output 'clases'; did you mean 'classes'\? it returns classes"):
        source_of(Heads, tmp_path, output="clases")


class Shared(Net):
    """One neuron in two places, which keeps its potential."""

    timesteps = STEPS

    def __init__(self) -> None:
        super().__init__()
        self.lif1 = snntorch.Leaky(beta=0.8, threshold=0.4, init_hidden=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lif2(self.fc2(self.lif1(self.lif1(self.fc1(x)))), self.lif2.reset_mem())[0]


class Skipping(Net):
    """Its second neuron sees every second step."""

    def forward(self, x: Tensor) -> Tensor:
        (mem1, mem2), spikes = self.begin(), []
        for t in range(6):
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            if t % 2:
                spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
                spikes.append(spk2)
        return torch.stack(spikes)


class Delayed(Net):
    """Its output of each step is that of the step before."""

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.over(x for _ in range(5))
        return torch.stack([torch.zeros_like(spikes[0]), *spikes[:-1]])


class Weighted(Net):
    """Its read-out weights later steps more."""

    def forward(self, x: Tensor) -> Tensor:
        return sum(t * spk for t, spk in enumerate(self.over(x for _ in range(5))))  # type: ignore[return-value]


class SamplesForSteps(Merged):
    """Its first neuron, which takes all steps at once, is given them merged with the batch, beside a dimension of its own."""

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        steps, batch = x.shape[:2]
        y = self.lif1(self.fc1(x.flatten(0, 1)).unsqueeze(1)).reshape(steps, batch, -1)
        return self.lif2(self.fc2(y))


class HeldForEachStep(nn.Module):
    """Scales the current of each step by a number of its own, of which it lists T whatever its `time_steps` is."""

    input_shape = (6,)

    def __init__(self) -> None:
        super().__init__()
        self.time_steps, self.scales = 4, [0.5, 0.8, 1.0, 1.5]
        self.fc, self.lif = nn.Linear(6, 4), neuron.LIFNode(v_threshold=0.3, step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        return self.lif(self.fc(x.unsqueeze(0).repeat(self.time_steps, 1, 1)) * torch.tensor(self.scales).view(-1, 1, 1))


class AsManyLayers(nn.Module):
    """It has as many layers as steps, and loops over both."""

    input_shape = (6,)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(6, 6), neuron.LIFNode(v_threshold=0.2)) for _ in range(5)])

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        total = torch.zeros_like(x)
        for _ in range(5):
            y = x
            for n in range(5):
                y = self.layers[n](y)
            total = total + y
        return total


class OneBatch(Net):
    """Holds a tensor of the batch that it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.start = torch.zeros(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(self.over(x + self.start for _ in range(5)))


REFUSED: dict[type[nn.Module], str] = {
    HeldForEachStep: "runs for 4 time steps, and not for one: with 1 in self.time_steps it runs for 4",
    SamplesForSteps: "neuron lif1 takes all time steps at once, [T, B, ...], and is given [12, 1, 8] for a batch of 3",
    AsManyLayers: "runs for 5 time steps, and not for one: with 1 in range() in its forward neuron layers.1.1 is not called",
    OneBatch: "the network runs on a batch of 16 alone: it holds that size in its code or in a state",
    Shared: "neuron lif1 is called 2 times in one time step and would share its potential; give each place its own neuron",
    Skipping: "mixes time steps: neuron lif1 runs for 6 steps, and lif2 for 3",
    Delayed: "the output of the network does not follow from its neurons' spikes at each step alone",
    Weighted: "reads out over time by itself, and neither by mean, sum, last nor by max",
}


@pytest.mark.sample(4)
@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_what_no_step_computes_is_refused_with_the_fact(kind: type[Net], tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        source_of(kind, tmp_path)
    assert REFUSED[kind] in str(caught.value)


def test_nothing_of_the_network_is_changed_by_finding_its_steps(tmp_path: Path) -> None:
    constants = (Local.forward.__code__, Default.forward.__defaults__, num_steps, "range" in globals())
    for kind in (Local, Default, OfTheModule, Around, Attribute):
        source = source_of(kind, tmp_path)
        assert getattr(source.module, "num_steps", STEPS) == STEPS
    assert constants == (Local.forward.__code__, Default.forward.__defaults__, num_steps, "range" in globals())
