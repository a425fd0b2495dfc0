"""A network of the user's own: `--arch package.module:factory` builds it, the checkpoint fills it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from snnconv.errors import InputError, Refused
from snnconv.nn import LIF, MPBN
from snnconv.sources import SourceOptions, factory, load_source
from tests.networks import NETWORKS, SHAPE, per_channel

PER_CHANNEL = "tests.networks:per_channel"


class Bare(nn.Module):
    """A network that says nothing about its input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(2, 3, 1), LIF(leak=0.5, threshold=0.75, strict=False, norm=MPBN(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x)).flatten(1)


class Timed(Bare):
    timesteps, input_shape = 7, (2, 4, 4)


def saved(folder: Path, net: nn.Module) -> Path:
    path = folder / "net.pth"
    torch.save(net.state_dict(), path)
    return path


def options(arch: str, **rest: object) -> SourceOptions:
    return SourceOptions(arch=arch, **rest)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_factory_is_filled_from_the_checkpoint(name: str, tmp_path: Path) -> None:
    net = NETWORKS[name]()
    with torch.no_grad():
        net.conv1.weight.mul_(0.5)
    source = load_source(saved(tmp_path, net), options(f"tests.networks:{name}"))
    assert source.module is not None
    found = source.module.state_dict()
    assert all(torch.equal(found[key], value) for key, value in net.state_dict().items())
    assert list(source.program.neurons) == ["act1", "act2", "act3"]
    assert not source.module.training
    assert not any(p.requires_grad for p in source.module.parameters())


def test_the_program_computes_what_the_module_computes(tmp_path: Path) -> None:
    source = load_source(saved(tmp_path, per_channel()), options(PER_CHANNEL))
    x = torch.rand(2, *SHAPE)
    assert torch.equal(source.run(x), source.program.run(x))


def test_time_and_shape_come_from_the_factory(tmp_path: Path) -> None:
    program = load_source(saved(tmp_path, Timed()), options(f"{__name__}:Timed")).program
    assert (program.contract.timesteps, program.contract.input_shape) == (7, (2, 4, 4))
    assert program.origin.settings == {
        "arch": f"{__name__}:Timed (option)",
        "timesteps": "7 (factory)",
        "input_shape": "2,4,4 (factory)",
        "input": "static (default)",
        "readout": "mean (default)",
    }


def test_time_has_a_stated_default(tmp_path: Path) -> None:
    program = load_source(saved(tmp_path, Bare()), options(f"{__name__}:Bare", input_shape=(2, 3, 5))).program
    assert program.contract.timesteps == 4
    assert program.origin.settings["timesteps"] == "4 (default)"
    assert program.origin.settings["input_shape"] == "2,3,5 (option)"


def test_options_override_the_factory(tmp_path: Path) -> None:
    given = options(f"{__name__}:Timed", timesteps=2, input_shape=(2, 6, 6), input="event", readout="none")
    contract = load_source(saved(tmp_path, Timed()), given).program.contract
    assert (contract.timesteps, contract.input_shape, contract.event, contract.readout) == (2, (2, 6, 6), True, "none")


def test_without_a_shape_the_user_is_asked_for_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the shape of one frame is not known; pass --input-shape C,H,W or give the module"):
        load_source(saved(tmp_path, Bare()), options(f"{__name__}:Bare"))


@pytest.mark.parametrize("constant", [{"leak": 0.5}, {"threshold": 1.0}, {"strict": True}], ids=str)
def test_constants_are_the_factory_s_own(constant: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not apply: the factory sets the constants of its neurons"):
        load_source(saved(tmp_path, per_channel()), options(PER_CHANNEL, **constant))


def test_the_neurons_are_those_of_the_factory(tmp_path: Path) -> None:
    neuron = load_source(saved(tmp_path, Timed()), options(f"{__name__}:Timed")).program.neurons["act"]
    assert (neuron.leak.item(), neuron.threshold.item(), neuron.strict, neuron.shape) == (0.5, 0.75, False, (3, 4, 4))


def test_a_norm_of_another_shape_is_refused(tmp_path: Path) -> None:
    from tests.networks import per_element

    path = saved(tmp_path, per_element())
    with pytest.raises(Refused, match="give the shape of one frame with --input-shape"):
        load_source(path, options("tests.networks:per_element", input_shape=(2, 9, 9)))


def test_counters_of_batches_are_optional(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    kept = {key: value for key, value in per_channel().state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(kept, path)
    load_source(path, options(PER_CHANNEL))


@pytest.mark.parametrize("arch", ["a:b", "a.b:c", ":"])
def test_a_colon_makes_a_factory(arch: str) -> None:
    assert factory.claims(Path("net.pth"), options(arch))


@pytest.mark.parametrize("arch", [None, "vgg16_bn", "a.b"])
def test_no_colon_makes_none(arch: str | None) -> None:
    assert not factory.claims(Path("net.pth"), SourceOptions(arch=arch))


def test_a_factory_beside_the_user_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_net.py").write_text("from tests.networks import per_channel as build\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    importlib.invalidate_caches()
    assert isinstance(factory.build("my_own_net:build"), nn.Module)


def test_nothing_is_imported_unless_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "not_named.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        load_source(saved(tmp_path, per_channel()), SourceOptions())
    assert "not_named" not in sys.modules


# Checkpoints as people have them; tests/sources/checkpoint tells what is found in a file.


def written(folder: Path, value: object) -> Path:
    path = folder / "net.pth"
    torch.save(value, path)
    return path


class WithExtraState(Timed):
    """A network with something in its state-dict that is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: object) -> None:
        assert state == {"version": 1}


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(3, 1), LIF())


def snn_leaky() -> nn.Module:
    import snntorch

    net = nn.Sequential(nn.Conv2d(2, 3, 1), snntorch.Leaky(beta=0.9, threshold=0.5, init_hidden=True), nn.Flatten())
    net.timesteps, net.input_shape = 2, (2, 4, 4)  # type: ignore[assignment]
    return net


def test_extra_state_is_left_alone(tmp_path: Path) -> None:
    load_source(saved(tmp_path, WithExtraState()), options(f"{__name__}:WithExtraState"))


def test_a_layer_without_shapes_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'0\.weight' has no shape yet; run the network once in the factory"):
        load_source(saved(tmp_path, Bare()), options(f"{__name__}:lazy", input_shape=(2, 4, 4)))


def test_what_a_file_holds_beside_the_network_is_noted(tmp_path: Path) -> None:
    state = per_channel().state_dict()
    file = {
        "state_dict": {**{f"net.{key}": value for key, value in state.items()}, "loss.weight": torch.ones(2)},
        "run": tmp_path,
    }
    source = load_source(written(tmp_path, file), options(PER_CHANNEL))
    assert source.module is not None
    assert all(torch.equal(source.module.state_dict()[key], value) for key, value in state.items())
    assert source.notes == (
        "state-dict found under 'state_dict'",
        "prefix 'net.' dropped from every key",
        "left out, beside the network: 'loss.weight'",
        "left out, no code was run: 'run' (pathlib.PosixPath)",
    )


def test_the_state_of_a_neuron_at_run_time_is_left_out_but_not_a_threshold(tmp_path: Path) -> None:
    state = per_channel().state_dict()
    source = load_source(written(tmp_path, {**state, "act1.v": torch.rand(16, 6, 8, 8)}), options(PER_CHANNEL))
    assert source.notes == ("states of neurons at run time left out: 'act1.v'",)
    for key in ("act1.v_threshold", "act1.theta", "conv1.v"):
        with pytest.raises(InputError, match=f"unexpected '{key}'"):
            load_source(written(tmp_path, {**state, key: torch.rand(6)}), options(PER_CHANNEL))


def test_constants_of_snntorch_that_an_older_file_lacks_are_the_factory_s(tmp_path: Path) -> None:
    state = snn_leaky().state_dict()
    later = ["1.graded_spikes_factor", "1.reset_mechanism_val"]
    assert set(later) < set(state)
    old = {key: value for key, value in state.items() if key not in later}
    source = load_source(written(tmp_path, old), options(f"{__name__}:snn_leaky"))
    assert source.notes[0].endswith("so that the factory's hold: '1.graded_spikes_factor', '1.reset_mechanism_val'")
    assert source.program.neurons["1"].threshold.item() == 0.5
    with pytest.raises(InputError, match=r"missing '1\.threshold'"):
        load_source(written(tmp_path, {k: v for k, v in old.items() if k != "1.threshold"}), options(f"{__name__}:snn_leaky"))


def test_options_about_the_file_are_settings_of_the_result(tmp_path: Path) -> None:
    state = per_channel().state_dict()
    more = {"old.weight": torch.ones(1), **{key.replace("head.", "last."): value for key, value in state.items()}}
    path = written(tmp_path, {"model": state, "ema": more})
    given = options(PER_CHANNEL, weights="ema", ignore=("old.*",), rename=("last=head",))
    settings = load_source(path, given).settings
    assert (settings["weights"], settings["ignore"], settings["rename"]) == (
        "ema (option)",
        "old.* (option)",
        "last=head (option)",
    )
    assert "weights" not in load_source(path, options(PER_CHANNEL)).settings
