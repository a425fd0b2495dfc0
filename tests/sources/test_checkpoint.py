"""`read_checkpoint`: every usual way of saving a state-dict gives the same float32 tensors, and notes say what was changed."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from snnconv.errors import InputError
from snnconv.sources.checkpoint import misfit, read_checkpoint
from tests.networks import per_channel

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    return per_channel().state_dict()


def saved(folder: Path, value: object, name: str = "net.pth") -> Path:
    path = folder / name
    torch.save(value, path)
    return path


def same(found: State, expected: State) -> bool:
    return list(found) == list(expected) and all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_plain_state_dict_comes_back_as_it_is(state: State, tmp_path: Path) -> None:
    read = read_checkpoint(saved(tmp_path, state))
    assert same(read.tensors, state)
    assert read.notes == ()


@pytest.mark.parametrize("nest", ["state_dict", "model", "net", "model_state_dict"])
def test_a_nested_state_dict_is_found(nest: str, state: State, tmp_path: Path) -> None:
    read = read_checkpoint(saved(tmp_path, {"epoch": 3, nest: state, "optimizer": {"lr": 0.1}}))
    assert same(read.tensors, state)
    assert read.notes == (f"state-dict found under '{nest}'",)


def test_nests_may_be_nested(state: State, tmp_path: Path) -> None:
    read = read_checkpoint(saved(tmp_path, {"model": {"state_dict": state}}))
    assert same(read.tensors, state)
    assert read.notes == ("state-dict found under 'state_dict' in 'model'",)


@pytest.mark.parametrize("prefix", ["module.", "module.module."])
def test_the_prefix_of_data_parallel_is_dropped(prefix: str, state: State, tmp_path: Path) -> None:
    read = read_checkpoint(saved(tmp_path, {prefix + key: value for key, value in state.items()}))
    assert same(read.tensors, state)
    assert read.notes == ("prefix 'module.' dropped from every key",)


def test_a_prefix_that_only_some_keys_have_is_kept(state: State, tmp_path: Path) -> None:
    mixed = {**state, "module.head.bias": state["head.bias"]}
    assert list(read_checkpoint(saved(tmp_path, mixed)).tensors) == list(mixed)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_floats_become_float32_with_a_note(dtype: torch.dtype, suffix: str, state: State, tmp_path: Path) -> None:
    other = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}
    path = tmp_path / f"net{suffix}"
    save_file(other, path) if suffix == ".safetensors" else torch.save(other, path)
    read = read_checkpoint(path)
    assert read.notes == (f"{str(dtype).removeprefix('torch.')} tensors converted to float32",)
    for key, value in other.items():
        assert read.tensors[key].dtype == (torch.float32 if value.is_floating_point() else value.dtype)
        assert torch.equal(read.tensors[key].to(value.dtype), value)


def test_safetensors_equal_pth(state: State, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_file(state, path)
    found, expected = read_checkpoint(path), read_checkpoint(saved(tmp_path, state))
    assert same(dict(sorted(found.tensors.items())), dict(sorted(expected.tensors.items())))
    assert found.notes == expected.notes


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ""])
def test_the_suffix_of_a_torch_file_does_not_matter(suffix: str, state: State, tmp_path: Path) -> None:
    assert same(read_checkpoint(saved(tmp_path, state, f"net{suffix}")).tensors, state)


def test_the_format_of_old_torch_is_read(state: State, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert same(read_checkpoint(path).tensors, state)


def test_the_sha256_is_that_of_the_file(state: State, tmp_path: Path) -> None:
    path = saved(tmp_path, state)
    assert read_checkpoint(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_no_tensor_is_left_out(state: State, tmp_path: Path) -> None:
    assert same(read_checkpoint(saved(tmp_path, {**state, "epoch": 3, "name": "net"})).tensors, state)


def test_parameters_and_views_become_plain_contiguous_tensors(tmp_path: Path) -> None:
    value = nn.Parameter(torch.rand(3, 4))
    read = read_checkpoint(saved(tmp_path, {"a": value, "b": value.detach().T})).tensors
    assert torch.equal(read["b"], read["a"].T)
    for tensor in read.values():
        assert type(tensor) is Tensor
        assert tensor.is_contiguous()
        assert not tensor.requires_grad


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("key", ["conv1.weight", "bn1.running_mean", "act1.norm.bias"])
def test_values_that_are_not_finite_are_named(value: float, key: str, state: State, tmp_path: Path) -> None:
    broken = state[key].clone()
    broken.view(-1)[:2] = value
    with pytest.raises(InputError, match=f"'{key}' holds 2 NaN or infinite values"):
        read_checkpoint(saved(tmp_path, {**state, key: broken}))


@pytest.mark.parametrize("key", ["bn1.running_var", "act1.norm.running_var"])
def test_negative_variance_is_named(key: str, state: State, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"'{key}' holds a negative variance \(-0.25\)"):
        read_checkpoint(saved(tmp_path, {**state, key: torch.full_like(state[key], -0.25)}))


def test_a_variance_of_zero_is_sound(state: State, tmp_path: Path) -> None:
    read_checkpoint(saved(tmp_path, {**state, "bn1.running_var": torch.zeros(6)}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s, ""),
        (lambda s: {k: v for k, v in s.items() if not k.endswith("num_batches_tracked")}, ""),
        (lambda s: {**s, "old.num_batches_tracked": torch.tensor(1)}, ""),
        (lambda s: {k: v for k, v in s.items() if k != "head.bias"}, "missing 'head.bias'"),
        (lambda s: {**s, "more": torch.zeros(1)}, "unexpected 'more'"),
        (lambda s: {**s, "head.bias": torch.zeros(7)}, "'head.bias' is [7], not [5]"),
        (lambda s: {}, "missing 'conv1.weight', 'bn1.weight', 'bn1.bias' and "),
    ],
)
def test_misfit_says_what_differs(change: Any, words: str, state: State) -> None:
    found = misfit(change(state), {key: tuple(value.shape) for key, value in state.items()})
    assert found.startswith(words)
    assert bool(found) == bool(words)


def test_the_sha256_is_of_the_bytes_that_were_read(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.pth"
    torch.save(state, path)
    digest, load = hashlib.sha256(path.read_bytes()).hexdigest(), torch.load

    def meanwhile(*arguments: object, **options: object) -> object:
        torch.save({key: value + 1 for key, value in state.items()}, path)
        return load(*arguments, **options)

    monkeypatch.setattr(torch, "load", meanwhile)
    found = read_checkpoint(path)
    assert found.sha256 == digest
    assert all(torch.equal(found.tensors[key], value) for key, value in state.items())


def test_a_tensor_may_not_claim_far_more_than_the_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"weight": torch.zeros(1).expand(10**6, 10**6), "bias": torch.zeros(3)}, path)
    with pytest.raises(InputError, match=r"net\.pth: is damaged \(its contents claim 4000000000012 bytes, but the file holds"):
        read_checkpoint(path)


def test_a_small_tensor_may_repeat_its_values(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"weight": torch.ones(1).expand(64)}, path)
    assert torch.equal(read_checkpoint(path).tensors["weight"], torch.ones(64))


def test_a_compressed_archive_may_not_claim_far_more_than_the_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**27))
    with pytest.raises(InputError, match=r"cannot be read .* \(its contents claim 134217728 bytes"):
        read_checkpoint(path)
