"""Which weights of a file are taken, what is said about it, and how the user overrides it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from snnconv.errors import InputError
from snnconv.sources.checkpoint import Wanted
from tests.sources.checkpoint.files import State, loaded, same, saved, state


def prefixed(prefix: str, held: State | None = None) -> State:
    return {prefix + key: value for key, value in (held or state()).items()}


def test_a_plain_state_dict_comes_back_as_it_is(tmp_path: Path) -> None:
    read = loaded(saved(tmp_path, state()))
    assert same(read.tensors, state())
    assert read.notes == ()


@pytest.mark.parametrize("content", [[1.0, 2.0], {}, {"epoch": 3}, torch.zeros(3), "text", None])
def test_a_file_without_weights_is_described(content: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"net\.pth: holds .*, not a state-dict; save one with torch\.save"):
        loaded(saved(tmp_path, content))


# Sets of weights.


@pytest.mark.parametrize("nest", ["state_dict", "model", "net", "model_state_dict", "anything", "state_dict_ema"])
def test_a_set_is_found_under_any_key(nest: str, tmp_path: Path) -> None:
    read = loaded(saved(tmp_path, {"epoch": 3, nest: state(), "optimizer": {"lr": 0.1}}))
    assert same(read.tensors, state())
    assert read.notes == (f"state-dict found under '{nest}'",)


def test_sets_may_be_nested(tmp_path: Path) -> None:
    read = loaded(saved(tmp_path, [{"model": {"state_dict": state()}}, 3]))
    assert same(read.tensors, state())
    assert read.notes == ("state-dict found under 'state_dict' in 'model' in '0'",)


def test_an_optimizer_is_no_set(tmp_path: Path) -> None:
    net = nn.Linear(3, 2)
    adam = torch.optim.Adam(net.parameters())
    net(torch.rand(1, 3)).sum().backward()
    adam.step()
    path = saved(tmp_path, {"optimizer": adam.state_dict(), "weights": net.state_dict()})
    assert loaded(path, net.state_dict()).notes == ("state-dict found under 'weights'",)


@pytest.mark.parametrize(
    ("chosen", "other"),
    [("state_dict", "state_dict_ema"), ("model", "net"), ("student", "student_ema"), ("net", "best"), ("x", "ema_x")],
)
@pytest.mark.parametrize("turned", [False, True])
def test_of_two_sets_the_usual_one_is_taken_with_a_note(chosen: str, other: str, turned: bool, tmp_path: Path) -> None:
    held = {chosen: state(), other: state(2.0)}
    path = saved(tmp_path, dict(reversed(held.items())) if turned else held)
    read = loaded(path)
    assert same(read.tensors, state())
    assert read.notes == (
        f"state-dict found under '{chosen}'",
        f"'{other}' would fit as well: --weights takes another set",
    )
    assert same(loaded(path, weights=other).tensors, state(2.0))


def test_of_two_sets_the_one_that_fits_is_taken(tmp_path: Path) -> None:
    path = saved(tmp_path, {"state_dict": {**state(), "head.more": torch.zeros(1)}, "student": state(2.0)})
    read = loaded(path)
    assert same(read.tensors, state(2.0))
    assert read.notes == ("state-dict found under 'student'", "'state_dict' does not fit: unexpected 'head.more'")
    with pytest.raises(InputError, match=r"unexpected 'head.more'"):
        loaded(path, weights="state_dict")


def test_two_sets_that_no_rule_tells_apart_are_listed(tmp_path: Path) -> None:
    path = saved(tmp_path, {"student": state(), "teacher": state(2.0)})
    with pytest.raises(InputError, match="holds several sets of weights that fit: 'student', 'teacher'; name one with --weights"):
        loaded(path)
    assert same(loaded(path, weights="teacher").tensors, state(2.0))


def test_a_set_is_named_by_all_its_keys_or_the_last_ones(tmp_path: Path) -> None:
    path = saved(tmp_path, {"a": {"model": state(), "ema": {"w": state(2.0)}}, "b": {"model": state(3.0)}})
    for name, scale in (("a/model", 1.0), ("b/model", 3.0), ("a/ema/w", 2.0), ("ema/w", 2.0), ("w", 2.0)):
        assert same(loaded(path, weights=name).tensors, state(scale))
    with pytest.raises(InputError, match="--weights 'model' names several sets of weights; there are 'a/model', 'b/model'"):
        loaded(path, weights="model")
    with pytest.raises(InputError, match=r"--weights 'modle' is no set of weights; .*'a/model'"):
        loaded(path, weights="modle")


def test_weights_that_were_saved_part_by_part_are_joined(tmp_path: Path) -> None:
    parts: dict[str, State] = {}
    for key, value in state().items():
        parts.setdefault(key.partition(".")[0], {})[key.partition(".")[2]] = value
    read = loaded(saved(tmp_path, {"epoch": 3, "parts": parts}))
    assert same(read.tensors, state())
    assert read.notes == ("state-dict found under 'parts'",)


# Prefixes and company.


@pytest.mark.parametrize("prefix", ["module.", "module.module.", "_orig_mod.", "_orig_mod.module.", "net.", "model.backbone."])
def test_a_prefix_is_dropped_with_a_note(prefix: str, tmp_path: Path) -> None:
    read = loaded(saved(tmp_path, prefixed(prefix)))
    assert same(read.tensors, state())
    assert read.notes == (f"prefix '{prefix}' dropped from every key",)


def test_a_prefix_is_added_with_a_note(tmp_path: Path) -> None:
    read = loaded(saved(tmp_path, state()), prefixed("net."))
    assert same(read.tensors, prefixed("net."))
    assert read.notes == ("prefix 'net.' added to every key",)


def test_a_prefix_is_replaced_with_a_note(tmp_path: Path) -> None:
    read = loaded(saved(tmp_path, prefixed("model.net.")), prefixed("module.net."))
    assert same(read.tensors, prefixed("module.net."))
    assert set(read.notes) >= {"prefix 'model.net.' dropped from every key", "prefix 'module.net.' added to every key"}


def test_names_within_are_dropped_with_a_note(tmp_path: Path) -> None:
    held = {key.replace("conv1.", "conv1.module.").replace("norm.", "norm.bn."): value for key, value in state().items()}
    read = loaded(saved(tmp_path, prefixed("net.", held)))
    assert same(read.tensors, state())
    dropped, inner = read.notes
    assert dropped == "prefix 'net.' dropped from every key"
    assert inner.startswith("'net.conv1.module.weight' read as 'conv1.weight', and so ")


def test_averaged_weights_are_read(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    read = loaded(saved(tmp_path, torch.optim.swa_utils.AveragedModel(net).state_dict()), net.state_dict())
    assert same(read.tensors, net.state_dict())
    assert read.notes == ("prefix 'module.' dropped from every key", "left out, beside the network: 'n_averaged'")


def test_company_beside_the_prefix_is_left_out_with_a_note(tmp_path: Path) -> None:
    held = {"loss.weight": torch.rand(5), **prefixed("net."), "metric.tp": torch.zeros(5, dtype=torch.int64)}
    read = loaded(saved(tmp_path, held))
    assert same(read.tensors, state())
    assert read.notes[-1] == "left out, beside the network: 'loss.weight', 'metric.tp'"


@pytest.mark.parametrize("key", ["more.weight", "head.more", "act1.v_threshold"])
@pytest.mark.parametrize("prefix", ["", "net."])
def test_a_key_too_many_within_the_network_is_an_error(key: str, prefix: str, tmp_path: Path) -> None:
    path = saved(tmp_path, {**prefixed(prefix), f"{prefix}{key}": torch.zeros(3)})
    with pytest.raises(InputError, match=f"unexpected '{prefix}{key}'; use the factory it was trained with; --ignore KEYS"):
        loaded(path)
    read = loaded(path, ignore=(f"{prefix}{key.partition('.')[0]}.*{key[-3:]}",))
    assert same(read.tensors, state())
    assert f"ignored as asked: '{prefix}{key}'" in read.notes


def test_a_copy_within_the_file_is_left_out_with_a_note(tmp_path: Path) -> None:
    read = loaded(saved(tmp_path, {**prefixed("ema_net.", state(2.0)), **prefixed("net.")}))
    assert same(read.tensors, state())
    assert read.notes[-1].startswith("left out, beside the network: 'ema_net.conv1.weight', ")


def test_two_networks_that_no_rule_tells_apart_are_ambiguous(tmp_path: Path) -> None:
    path = saved(tmp_path, {**prefixed("student."), **prefixed("teacher.", state(2.0))})
    words = r"it fits behind each of the prefixes 'student\.', 'teacher\.'; leave all but one out with --ignore"
    with pytest.raises(InputError, match=words):
        loaded(path)
    assert same(loaded(path, ignore=("student.*",)).tensors, state(2.0))


def test_a_network_that_stands_there_with_and_without_a_prefix_is_ambiguous(tmp_path: Path) -> None:
    path = saved(tmp_path, {**prefixed("net."), "head.bias": torch.zeros(5)})
    with pytest.raises(InputError, match=r"'head\.bias' stand there both with and without the prefix 'net\.'"):
        loaded(path)


def test_the_smaller_part_of_a_file_is_taken_only_if_the_rest_is_ignored(tmp_path: Path) -> None:
    path, head = saved(tmp_path, state()), {"weight": state()["head.weight"], "bias": state()["head.bias"]}
    with pytest.raises(InputError, match=r"only 2 of its tensors, behind 'head\.', belong to the network; others are 'conv1"):
        loaded(path, head)
    assert same(loaded(path, head, ignore=("[!h]*",)).tensors, head)


def test_keys_are_renamed_as_asked(tmp_path: Path) -> None:
    held = {f"a.{key}".replace("a.head.", "classifier."): value for key, value in state().items()}
    path = saved(tmp_path, held)
    with pytest.raises(InputError, match="missing 'head"):
        loaded(path)
    read = loaded(path, rename=("classifier=a.head",))
    assert same(read.tensors, state())
    assert read.notes[0] == "renamed as asked: classifier=a.head"
    assert same(loaded(path, rename=("a.=", "classifier.=head.")).tensors, state())


@pytest.mark.parametrize("option", [{"ignore": ("heads.*",)}, {"rename": ("hea=x",)}], ids=str)
def test_an_option_that_changes_no_key_is_an_error(option: dict[str, tuple[str, ...]], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--(ignore|rename) '.*' changes no key of the file; there are 'conv1\.weight'"):
        loaded(saved(tmp_path, state()), **option)


def test_keys_that_are_renamed_to_one_name_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--rename gives 'head\.weight' to several keys"):
        loaded(saved(tmp_path, {**state(), "more.weight": torch.zeros(5, 96)}), rename=("more=head",))


# What only neurons and frameworks know.


def test_states_of_neurons_are_left_out_with_a_note(tmp_path: Path) -> None:
    wanted = Wanted({key: tuple(value.shape) for key, value in state().items()}, neurons=frozenset({"act1"}))
    path = saved(tmp_path, {**prefixed("net."), "net.act1.v": torch.rand(16, 6, 8, 8)})
    read = loaded(path, wanted)
    assert same(read.tensors, state())
    assert read.notes[-1] == "states of neurons at run time left out: 'net.act1.v'"


def test_constants_that_the_file_lacks_are_noted(tmp_path: Path) -> None:
    shapes = {**{key: tuple(value.shape) for key, value in state().items()}, "act1.factor": ()}
    read = loaded(saved(tmp_path, state()), Wanted(shapes, optional=frozenset({"act1.factor"})))
    assert read.notes[-1].endswith("wrote, so that the factory's hold: 'act1.factor'")


def test_what_only_code_could_make_is_named_where_the_network_wants_it(tmp_path: Path) -> None:
    held: dict[str, object] = {**prefixed("net."), "net.head.bias": Path("/data")}
    with pytest.raises(InputError, match=r"missing 'head\.bias'; 'head\.bias' is no tensor, but something that only code"):
        loaded(saved(tmp_path, held))


# Weights in parts.


def normed(new: bool, name: str = "weight") -> nn.Module:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    if new:
        nn.utils.parametrizations.weight_norm(layer, name)
    else:
        nn.utils.weight_norm(layer, name)
    return nn.Sequential(nn.Linear(3, 3), layer)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("new", [False, True])
def test_weight_norm_is_read_in_either_form(new: bool, tmp_path: Path) -> None:
    file, network = normed(new), normed(not new)
    with torch.no_grad():
        file[1].bias.fill_(0.5)
        for key, value in file.state_dict().items():
            value.mul_(2.0 if "weight" in key else 1.0)
    read = loaded(saved(tmp_path, file.state_dict()), network.state_dict())
    assert "weight norm read from another form of torch" in read.notes
    network.load_state_dict(read.tensors)
    x = torch.rand(4, 3)
    assert torch.equal(network(x), file(x))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("prefix", ["", "net."])
def test_weight_norm_that_only_one_side_has_is_the_fact_that_is_said(new: bool, prefix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain, norm = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)), normed(new)
    with pytest.raises(InputError, match=r"the file holds '(net\.)?1\.weight' under weight norm .*, and the network does not"):
        loaded(saved(tmp_path, prefixed(prefix, norm.state_dict())), plain.state_dict())
    with pytest.raises(InputError, match=r"the network holds '1\.weight' under weight norm .*, and the file does not"):
        loaded(saved(tmp_path, prefixed(prefix, plain.state_dict())), norm.state_dict())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm], ids=["old", "new"])
def test_spectral_norm_that_only_one_side_has_is_said_too(norm: object, tmp_path: Path) -> None:
    plain, normed = nn.Sequential(nn.Linear(3, 3)), nn.Sequential(norm(nn.Linear(3, 3)))
    with pytest.raises(InputError, match=r"the file holds '0\.weight' under spectral norm"):
        loaded(saved(tmp_path, normed.state_dict()), plain.state_dict())
    with pytest.raises(InputError, match=r"the network holds '0\.weight' under spectral norm"):
        loaded(saved(tmp_path, plain.state_dict()), normed.state_dict())


def test_messages_hold_no_control_characters_and_stay_short(tmp_path: Path) -> None:
    evil: dict[str, Tensor] = {f"\x1b[31m{'x' * 5000}{i}\n": torch.zeros(1) for i in range(100)}
    for value in ({**state(), **evil}, {next(iter(evil)): state(), "\x07": state()}, {"\x1b": 1, "y" * 9999: 2}):
        with pytest.raises(InputError) as caught:
            loaded(saved(tmp_path, value))
        text = str(caught.value)
        assert len(text) < 4200
        assert text.isprintable()
    path = saved(tmp_path, {"\x1b": {**prefixed("\x1b\n."), "\x07": torch.zeros(1)}, "\n": Path("/data")})
    assert all(note.isprintable() for note in loaded(path).notes)
