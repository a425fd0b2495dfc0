"""T is found wherever people put it: the network then runs for one step, and for any other number that is asked for."""

from __future__ import annotations

import argparse
import enum
import functools
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

from snnconv.first_look.places import places_of
from snnconv.sources import Source
from tests.adapters.conversions import loaded
from tests.first_look import settings_of_a_network
from tests.first_look import settings_of_a_network as imported_settings
from tests.first_look.settings_of_a_network import T

T_OF_A_MODULE = 6
config: dict[str, Any] = {"model": {"timesteps": 6, "width": 6}, "name": "net"}
args = argparse.Namespace(time_step=6, depth=6)
space = SimpleNamespace(T=6)
listed = [6]


@dataclass(frozen=True)
class Frozen:
    T: int = 6
    width: int = 6


@dataclass
class Slotted:
    __slots__ = ("steps",)
    steps: int


class Config:
    num_steps = 6
    width = 6


class Private:
    def __init__(self) -> None:
        self._T = 6

    @property
    def often(self) -> int:
        return self._T


class AsAttributes(dict[str, Any]):
    """A dictionary whose entries are attributes."""

    def __getattr__(self, name: str) -> Any:
        return self.get(name)


class Doubled(dict[str, Any]):
    """A dictionary that copies its entries into its attributes."""

    def __init__(self, **entries: Any) -> None:
        super().__init__(entries)
        self.__dict__.update(entries)


class Member(enum.Enum):
    T = 6
    WIDTH = 8


class Whole(enum.IntEnum):
    T = 6


Fields = namedtuple("Fields", "T width")
frozen, slotted, private, fields = Frozen(), Slotted(6), Private(), Fields(6, 6)
as_attributes, doubled = AsAttributes(T=6), Doubled(T=6)


def repeated(x: Tensor, T: int) -> Tensor:  # noqa: N803
    return x.unsqueeze(0).repeat(T, *[1] * x.dim())


class Encoder:
    """No layer: an object that repeats an image."""

    def __init__(self, often: int) -> None:
        self.often = often

    def __call__(self, x: Tensor) -> Tensor:
        return torch.stack([x for _ in range(self.often)])


class Repeat(nn.Module):
    T = 6

    def forward(self, x: Tensor) -> Tensor:
        return repeated(x, self.T)


class Net(nn.Module):
    """Two neurons, whose `repeat` makes frames of an image."""

    input_shape = (6,)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.lif1 = layer.Linear(6, 8), neuron.LIFNode(v_threshold=0.3)
        self.fc2, self.lif2 = layer.Linear(8, 4), neuron.LIFNode(v_threshold=0.2)
        with torch.no_grad():
            self.fc1.weight.mul_(3)
            self.fc2.weight.mul_(3)

    def repeat(self, x: Tensor) -> Any:
        raise NotImplementedError

    def run(self, frames: Any) -> Tensor:
        functional.reset_net(self)
        return torch.stack([self.lif2(self.fc2(self.lif1(self.fc1(x)))) for x in frames])

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self.repeat(x)).mean(0)


class Multi(Net):
    """The same with layers that take all steps at once."""

    def __init__(self) -> None:
        super().__init__()
        functional.set_step_mode(self, "m")

    def run(self, frames: Any) -> Tensor:
        functional.reset_net(self)
        frames = frames if isinstance(frames, Tensor) else torch.stack(list(frames))
        return self.lif2(self.fc2(self.lif1(self.fc1(frames))))


Way = Callable[[Any, Tensor], Any]


def loop(steps: int, x: Tensor) -> Any:
    return [x for _ in range(steps)]


HELD: dict[str, tuple[dict[str, Any], Way]] = {
    "an attribute of another name": ({"often": 6}, lambda m, x: loop(m.often, x)),
    "a private attribute": ({"_T": 6}, lambda m, x: repeated(x, m._T)),
    "a dictionary": ({"cfg": {"T": 6, "width": 6}}, lambda m, x: repeated(x, m.cfg["T"])),
    "a nested dictionary": ({"cfg": {"model": {"time_steps": 6}}}, lambda m, x: repeated(x, m.cfg["model"]["time_steps"])),
    "a namespace": ({"args": argparse.Namespace(T=6, width=6)}, lambda m, x: repeated(x, m.args.T)),
    "a frozen dataclass": ({"cfg": Frozen()}, lambda m, x: repeated(x, m.cfg.T)),
    "a slotted dataclass": ({"cfg": Slotted(6)}, lambda m, x: repeated(x, m.cfg.steps)),
    "a named tuple": ({"cfg": Fields(6, 6)}, lambda m, x: repeated(x, m.cfg.T)),
    "a class": ({"cfg": Config}, lambda m, x: repeated(x, m.cfg.num_steps)),
    "an object of a class": ({"cfg": Config()}, lambda m, x: repeated(x, m.cfg.num_steps)),
    "a property of an object": ({"cfg": Private()}, lambda m, x: repeated(x, m.cfg.often)),
    "a partial": ({"make": functools.partial(repeated, T=6)}, lambda m, x: m.make(x)),
    "an object that is called": ({"encoder": Encoder(6)}, lambda m, x: m.encoder(x)),
    "a layer's class": ({"inner": Repeat()}, lambda m, x: m.inner(x)),
    "an entry that is an attribute": ({"cfg": AsAttributes(T=6)}, lambda m, x: repeated(x, m.cfg.T)),
    "an entry beside an attribute": ({"cfg": Doubled(T=6)}, lambda m, x: repeated(x, m.cfg.T)),
    "an enumeration": ({}, lambda m, x: repeated(x, Member.T.value)),
    "an enumeration of numbers": ({}, lambda m, x: repeated(x, Whole.T)),
    "a global": ({}, lambda m, x: repeated(x, T_OF_A_MODULE)),
    "a global dictionary": ({}, lambda m, x: repeated(x, config["model"]["timesteps"])),
    "a global namespace": ({}, lambda m, x: loop(args.time_step, x)),
    "a simple namespace": ({}, lambda m, x: repeated(x, getattr(space, "T"))),  # noqa: B009
    "a global dataclass": ({}, lambda m, x: repeated(x, frozen.T)),
    "a global slotted dataclass": ({}, lambda m, x: repeated(x, slotted.steps)),
    "a global named tuple": ({}, lambda m, x: repeated(x, fields.T)),
    "a global class": ({}, lambda m, x: repeated(x, Config.num_steps)),
    "a global object": ({}, lambda m, x: repeated(x, private.often)),
    "a global that is imported": ({}, lambda m, x: repeated(x, T)),
    "a module": ({}, lambda m, x: repeated(x, settings_of_a_network.T)),
    "a module by another name": ({}, lambda m, x: repeated(x, imported_settings.other)),
    "a global entry that is an attribute": ({}, lambda m, x: repeated(x, as_attributes.T)),
}
"""What the network holds, and how it makes frames of an image."""


class OfClass(Net):
    T = 6

    def repeat(self, x: Tensor) -> Any:
        return repeated(x, self.T)


class OfBase(OfClass):
    pass


class ByProperty(Net):
    @property
    def often(self) -> int:
        return 6

    def repeat(self, x: Tensor) -> Any:
        return loop(self.often, x)


class PropertyOfConfig(Net):
    def __init__(self) -> None:
        super().__init__()
        self.cfg = {"T": 6}

    @property
    def often(self) -> int:
        return self.cfg["T"]

    def repeat(self, x: Tensor) -> Any:
        return loop(self.often, x)


class Cached(Net):
    @functools.cached_property
    def often(self) -> int:
        return config["model"]["timesteps"]

    def repeat(self, x: Tensor) -> Any:
        return loop(self.often, x)


def logged(function: Any) -> Any:
    """A decorator."""

    @functools.wraps(function)
    def wrapper(self: Any, x: Tensor) -> Any:
        return function(self, x)

    return wrapper


class Decorated(Net):
    @logged
    def forward(self, x: Tensor) -> Tensor:
        return self.run(x for _ in range(6)).mean(0)


def enclosing() -> type[Net]:
    inner = argparse.Namespace(T=6, width=6)

    class Enclosed(Net):
        def repeat(self, x: Tensor) -> Any:
            return loop(inner.T, x)

    return Enclosed


CLASSES: tuple[type[Net], ...] = (OfClass, OfBase, ByProperty, PropertyOfConfig, Cached, Decorated, enclosing())


def held_by(name: str, base: type[Net]) -> type[Net]:
    held, way = HELD[name]

    class Holding(base):  # type: ignore[valid-type]
        def __init__(self) -> None:
            super().__init__()
            for key, value in held.items():
                setattr(self, key, value)

        def repeat(self, x: Tensor) -> Any:
            return way(self, x)

    return Holding


def source_of(kind: type[Net], monkeypatch: Any, folder: Path, **options: Any) -> Source:
    monkeypatch.setattr("snnconv.sources.factory.imported", lambda arch, called: kind)
    return loaded(kind(), "net:make", folder, **options)


def ensure_found(kind: type[Net], monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """It runs for its own six steps, and for nine if that is asked for, and is left as it was."""
    x = 2 * torch.rand(12, 6, generator=torch.Generator().manual_seed(1))
    for steps, options in ((6, {}), (9, {"timesteps": 9})):
        source = source_of(kind, monkeypatch, folder, **options)
        assert source.settings["timesteps"] == (f"{steps} (option)" if options else "6 (network)")
        with torch.no_grad():
            expected = kind().eval().run([x] * steps).mean(0)
        assert expected.std() > 0.05, "a network that is silent shows nothing"
        torch.testing.assert_close(source.program.run(x), expected)
        torch.testing.assert_close(source.run(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(kind().eval()(x), kind().eval().run([x] * 6).mean(0))


@pytest.mark.sample(6)
@pytest.mark.parametrize("name", HELD)
def test_a_number_that_is_held_is_found(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ensure_found(held_by(name, (Net, Multi)[list(HELD).index(name) % 2]), monkeypatch, tmp_path)


@pytest.mark.sample(4)
@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_a_number_in_a_class_is_found(kind: type[Net], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ensure_found(kind, monkeypatch, tmp_path)


def test_a_place_is_called_as_it_is_written() -> None:
    net = held_by("a nested dictionary", Net)()
    assert str(next(place for place in places_of(net, 6) if place.usual)) == "self.cfg.model.time_steps"
    assert "args.time_step" in map(str, places_of(held_by("a global namespace", Net)(), 6))
    assert "the global T_OF_A_MODULE" in map(str, places_of(held_by("a global", Net)(), 6))


@pytest.mark.parametrize("name", HELD)
def test_a_place_holds_another_number_for_a_while(name: str) -> None:
    """Every place, entered and left, leaves everything as it was."""
    net = held_by(name, Net)().eval()
    x = torch.rand(2, 6)
    before = len(list(net.repeat(x)))
    for place in places_of(net, 6):
        with place.held(net, 6, 1):
            pass
        assert len(list(net.repeat(x))) == before == 6
