"""Tensors become sound float32: what a network cannot compute with is named, and conversions are noted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from snnconv.errors import InputError
from tests.sources.checkpoint.files import loaded, saved, state


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_floats_become_float32_with_a_note(dtype: torch.dtype, suffix: str, tmp_path: Path) -> None:
    other = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state().items()}
    path = tmp_path / f"net{suffix}"
    save_file(other, path) if suffix == ".safetensors" else torch.save(other, path)
    read = loaded(path)
    assert read.notes == (f"{str(dtype).removeprefix('torch.')} tensors converted to float32",)
    for key, value in other.items():
        assert read.tensors[key].dtype == (torch.float32 if value.is_floating_point() else value.dtype)
        assert torch.equal(read.tensors[key].to(value.dtype), value)


def test_parameters_and_views_become_plain_contiguous_tensors(tmp_path: Path) -> None:
    value = nn.Parameter(torch.rand(3, 4))
    held = {"a": value, "b": value.detach().T, "c": value.detach()[1:, ::2]}
    read = loaded(saved(tmp_path, held), held).tensors
    for key, tensor in read.items():
        assert torch.equal(tensor, held[key])
        assert type(tensor) is torch.Tensor
        assert tensor.is_contiguous()
        assert not tensor.requires_grad


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("key", ["conv1.weight", "bn1.running_mean", "act1.norm.bias"])
def test_values_that_are_not_finite_are_named(value: float, key: str, tmp_path: Path) -> None:
    broken = state()[key].clone()
    broken.view(-1)[:2] = value
    with pytest.raises(InputError, match=f"'{key}' holds 2 NaN or infinite values"):
        loaded(saved(tmp_path, {**state(), key: broken}))


def test_values_that_only_float64_holds_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'head.bias' does not fit into float32"):
        loaded(saved(tmp_path, {**state(), "head.bias": torch.full((5,), 1e300, dtype=torch.float64)}))


@pytest.mark.parametrize("key", ["bn1.running_var", "act1.norm.running_var"])
def test_negative_variance_is_named(key: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"'{key}' holds a negative variance \(-0.25\)"):
        loaded(saved(tmp_path, {**state(), key: torch.full_like(state()[key], -0.25)}))


def test_a_variance_of_zero_is_sound(tmp_path: Path) -> None:
    loaded(saved(tmp_path, {**state(), "bn1.running_var": torch.zeros(6)}))


def test_what_is_wrong_beside_the_network_does_not_matter(tmp_path: Path) -> None:
    held = {**{f"net.{key}": value for key, value in state().items()}, "loss.weight": torch.tensor([float("nan")])}
    assert "left out, beside the network: 'loss.weight'" in loaded(saved(tmp_path, held)).notes


KINDS = {
    "qint8": lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
    "int8": lambda value: value.to(torch.int8),
    "bool": lambda value: value > 0,
    "complex64": lambda value: value.to(torch.complex64),
    "sparse": lambda value: value.to_sparse(),
    "no": lambda value: value.to("meta"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_that_hold_no_floats_are_named(kind: str, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    held = {**state(), "head.weight": KINDS[kind](state()["head.weight"])}
    torch.save(held, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=f"'head.weight' holds {kind} values, not floats; convert the unquantised"):
        loaded(path)
