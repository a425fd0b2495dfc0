"""The networks of the MPBN authors are recognised from keys and shapes alone, and what a state-dict leaves open is stated."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from snnconv.errors import InputError
from snnconv.ir.program import Origin, TimeContract
from snnconv.nn import neurons
from snnconv.sources import SourceOptions, configure, load_source, official
from snnconv.sources.checkpoint import Checkpoint
from snnconv.sources.checkpoint.values import Stored
from snnconv.sources.mpbn import ARCHITECTURES, Architecture, Layers
from tests.networks import trained

BY_NAME = {arch.name: arch for arch in ARCHITECTURES}
Settings = dict[str, str]


def layout(name: str, inputs: int = 3, classes: int = 10, root: str = "model.") -> dict[str, Tensor]:
    """A checkpoint's keys and shapes, as the authors save them."""
    shapes = BY_NAME[name].shapes(inputs, classes)
    return {root + key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def recognised(state: dict[str, Tensor]) -> tuple[str, str]:
    """The name of the nearest architecture, and what differs from it."""
    checkpoint = Checkpoint(Path("net.pth"), "", 0, {key: Stored(tuple(value.shape), "no", None) for key, value in state.items()})
    arch, found = official.nearest(checkpoint, ARCHITECTURES, SourceOptions())
    return arch.name, found.problem


@pytest.mark.parametrize("name", BY_NAME)
def test_every_network_is_recognised_with_any_number_of_classes_and_channels(name: str) -> None:
    assert recognised(layout(name, inputs=2, classes=7)) == (name, "")


@pytest.mark.sample(3)
@pytest.mark.parametrize("root", ["", "model."])
@pytest.mark.parametrize("name", BY_NAME)
def test_the_root_of_the_keys_is_optional(name: str, root: str) -> None:
    assert recognised(layout(name, root=root)) == (name, "")


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", BY_NAME)
def test_counters_of_batches_are_optional(name: str) -> None:
    state = {key: value for key, value in layout(name).items() if not key.endswith("num_batches_tracked")}
    assert recognised(state) == (name, "")


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", BY_NAME)
def test_a_missing_key_is_named(name: str) -> None:
    state = layout(name)
    lost = next(key for key in state if key.endswith("running_var"))
    del state[lost]
    assert recognised(state) == (name, f"missing '{lost}'")


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", BY_NAME)
def test_a_key_too_many_is_named(name: str) -> None:
    state = {**layout(name), "model.extra.weight": torch.empty(1, device="meta")}
    assert recognised(state) == (name, "unexpected 'model.extra.weight'")


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", BY_NAME)
def test_a_wrong_shape_is_named(name: str) -> None:
    state = layout(name)
    key = next(key for key in reversed(state) if key.endswith("pool.weight"))
    state[key] = torch.empty(1, 2, 3, 3, device="meta")
    assert recognised(state)[1].startswith(f"'{key}' is [1, 2, 3, 3], not [")


def test_a_depth_that_the_authors_have_not_is_held_against_the_nearest_one() -> None:
    state = layout("resnet32_cifar")
    for key in [key for key in state if ".layer2.4." in key]:
        del state[key]
    name, differs = recognised(state)
    assert name == "resnet32_cifar"
    assert differs.startswith("missing 'model.layer2.4.conv1.pool.weight', 'model.layer2.4.bn1.bn.weight', ")


def test_a_membrane_norm_per_element_is_another_network() -> None:
    state = {
        key: value[:, None, None].expand(-1, 4, 4) if value.dim() == 1 else value for key, value in layout("vgg16_bn").items()
    }
    assert "is [64, 4, 4], not [64]" in recognised(state)[1]


def checkpoint(folder: Path, name: str, inputs: int = 3, classes: int = 10) -> Path:
    """A file that holds every tensor of a network, of ones."""
    shapes = BY_NAME[name].shapes(inputs, classes)
    path = folder / f"{name}.pth"
    torch.save({f"model.{key}": torch.ones(shape) for key, shape in shapes.items()}, path)
    return path


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, SourceOptions], tuple[TimeContract, Settings]]:
    """Load an official checkpoint up to the capture, which takes seconds, and see what was settled."""

    def stop(module: object, contract: TimeContract, origin: Origin, notes: object, forward: object) -> object:
        golden = f"tests/golden/official/{origin.arch}.npz"
        assert origin.reference == f"snnconv's form of {origin.arch}, checked against a run of the authors' code ({golden})"
        return contract, origin.settings

    monkeypatch.setattr(official, "capture_source", stop)
    monkeypatch.setattr(Architecture, "module", lambda self, tensors, make: torch.nn.Identity())
    return official.load  # type: ignore[return-value]


def test_what_the_file_leaves_open_is_stated_as_default(settled: Callable, tmp_path: Path) -> None:
    contract, settings = settled(checkpoint(tmp_path, "resnet20_cifar"), SourceOptions())
    assert contract == TimeContract(4, (3, 32, 32), event=False, readout="mean")
    assert settings == {
        "arch": "resnet20_cifar (recognised)",
        "leak": "0.25 (default)",
        "threshold": "0.5 (default)",
        "strict": "True (default)",
        "input_shape": "3,32,32 (default)",
        "timesteps": "4 (default)",
        "input": "static (default)",
        "readout": "mean (default)",
    }


def test_networks_for_imagenet_are_shown_images_of_its_size(settled: Callable, tmp_path: Path) -> None:
    contract, settings = settled(checkpoint(tmp_path, "ResNet34"), SourceOptions(arch="ResNet34"))
    assert contract.input_shape == (3, 224, 224)
    assert settings["input_shape"] == "3,224,224 (default)"
    assert settings["arch"] == "ResNet34 (option)"


def test_a_named_architecture_is_checked(settled: Callable, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not fit resnet56_cifar: missing 'model\.layer1\.7\.conv1\.pool\.weight'"):
        settled(checkpoint(tmp_path, "resnet44_cifar"), SourceOptions(arch="resnet56_cifar"))


def test_options_override_defaults(settled: Callable, tmp_path: Path) -> None:
    options = SourceOptions("resnet20_cifar", 2, "event", (2, 48, 48), "sum", leak=0.5, threshold=1.0, strict=False)
    contract, settings = settled(checkpoint(tmp_path, "resnet20_cifar", inputs=2), options)
    assert contract == TimeContract(2, (2, 48, 48), event=True, readout="sum")
    assert settings == {
        "arch": "resnet20_cifar (option)",
        "leak": "0.5 (option)",
        "threshold": "1 (option)",
        "strict": "False (option)",
        "input_shape": "2,48,48 (option)",
        "timesteps": "2 (option)",
        "input": "event (option)",
        "readout": "sum (option)",
    }


def test_a_configuration_file_overrides_defaults_and_options_override_it(settled: Callable, tmp_path: Path) -> None:
    config = tmp_path / "snn.toml"
    config.write_text("timesteps = 6\nleak = 0.5\nreadout = 'last'\n")
    contract, settings = settled(checkpoint(tmp_path, "resnet19_cifar"), configure(SourceOptions(timesteps=8), config))
    assert (contract.timesteps, contract.readout) == (8, "last")
    assert settings["timesteps"] == "8 (option)"
    assert settings["leak"] == "0.5 (snn.toml)"
    assert settings["readout"] == "last (snn.toml)"
    assert settings["threshold"] == "0.5 (default)"


@pytest.mark.parametrize("shape", [(2, 32, 32), (32, 32), (3, 32, 32, 1)])
def test_an_input_shape_that_does_not_fit_is_named(shape: tuple[int, ...], settled: Callable, tmp_path: Path) -> None:
    words = re.escape(f"input shape {list(shape)} does not fit: the first convolution takes 3 channels; pass --input-shape 3,H,W")
    with pytest.raises(InputError, match=words):
        settled(checkpoint(tmp_path, "resnet19_cifar"), SourceOptions(input_shape=shape))


@pytest.mark.parametrize("constant", ["leak", "threshold"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_constant_that_is_not_finite_is_an_error_of_the_user(constant: str, value: float, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "resnet19_cifar")
    with pytest.raises(InputError, match=constant):
        load_source(path, SourceOptions(**{constant: value}))


def test_a_key_with_and_without_its_root_is_not_lost() -> None:
    state = {**layout("vgg16_bn"), "classifier.conv.bias": torch.empty(10, device="meta")}
    assert recognised(state)[1]


def test_a_whole_network_is_loaded_with_its_weights_and_settings(tmp_path: Path) -> None:
    arch = BY_NAME["resnet19_cifar"]
    net = trained(arch.plan.build(2, 7, Layers()))
    state = {f"module.model.{key.replace('.norm.', '.bn.')}": value.half() for key, value in net.state_dict().items()}
    path = tmp_path / "net.pth"
    torch.save({"state_dict": state}, path)
    source = load_source(path, SourceOptions(input_shape=(2, 8, 8), input="event", timesteps=2))
    assert set(source.program.neurons) == set(neurons(net))
    assert next(iter(source.program.neurons)) == "relu"
    assert source.program.origin.arch == "resnet19_cifar"
    assert source.program.origin.settings["leak"] == "0.25 (default)"
    assert source.program.origin.settings["threshold"] == "0.5 (default)"
    assert source.program.origin.settings["strict"] == "True (default)"
    assert source.program.origin.settings["timesteps"] == "2 (option)"
    assert source.notes == (
        "state-dict found under 'state_dict'",
        "prefix 'module.' dropped from every key",
        "float16 tensors converted to float32",
    )
    for neuron in source.program.neurons.values():
        assert (neuron.leak.item(), neuron.threshold.item(), neuron.strict, neuron.soft) == (0.25, 0.5, True, False)
    assert source.module is not None
    for key, value in source.module.state_dict().items():
        assert torch.equal(value, net.state_dict()[key].half().to(value.dtype)), key
    x = torch.rand(1, 2, 2, 8, 8)
    assert source.run(x).shape == source.program.run(x).shape == (1, 7)
