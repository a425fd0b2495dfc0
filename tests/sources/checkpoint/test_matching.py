"""The tensors of a network are found under whatever names wrappers gave them: never others in their place."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnconv.sources.checkpoint.matching import Match, Wanted, alike, matches

Shapes = dict[str, tuple[int, ...]]
NAMES = st.sampled_from(["0", "1", "conv", "bn", "net", "module", "fc"])
WRAPPERS = st.sampled_from(["module", "net", "_orig_mod", "0", "conv", "x"])
LEAVES = st.dictionaries(st.sampled_from(["weight", "bias", "running_mean"]), st.sampled_from([(3,), (3, 2)]), min_size=1)
TREES = st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3), max_leaves=8)


def keys_of(tree: dict, prefix: str = "") -> Shapes:
    found: Shapes = {}
    for name, part in tree.items():
        found.update(keys_of(part, f"{prefix}{name}.") if isinstance(part, dict) else {f"{prefix}{name}": part})
    return found


def places_of(shapes: Shapes) -> list[tuple[str, ...]]:
    """Every layer and every container of layers, as a path."""
    return sorted({tuple(key.split(".")[:i]) for key in shapes for i in range(len(key.split(".")))})


def wrapped(key: str, wrappers: dict[tuple[str, ...], list[str]]) -> str:
    parts = key.split(".")
    return ".".join(name for i, part in enumerate(parts) for name in (*wrappers.get(tuple(parts[:i]), []), part))


@dataclass(frozen=True)
class Case:
    shapes: Shapes
    keys: dict[str, str]
    """What the file calls each key of the network."""

    @property
    def file(self) -> Shapes:
        return {own: self.shapes[key] for key, own in self.keys.items()}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A network, and a file of it in which wrappers stand around some of its layers, or all of it."""
    shapes = keys_of(draw(TREES))
    wrappers = draw(st.dictionaries(st.sampled_from(places_of(shapes)), st.lists(WRAPPERS, min_size=1, max_size=2), max_size=3))
    return Case(shapes, {key: wrapped(key, wrappers) for key in shapes})


def right(found: list[Match], keys: dict[str, str]) -> bool:
    """Whether the tensors were found, or it was said that they are ambiguous or not there: no other was taken for one."""
    return len(found) != 1 or not found[0].fits or found[0].keys == keys


@settings(max_examples=60, deadline=None)
@given(cases())
def test_a_network_in_wrappers_is_found(case: Case) -> None:
    found = matches(case.file, Wanted(case.shapes))
    assert any(match.fits and match.keys == case.keys for match in found)
    assert right(found, case.keys)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_a_network_that_has_wrappers_itself_is_found(case: Case) -> None:
    keys = {own: key for key, own in case.keys.items()}
    found = matches(case.shapes, Wanted(case.file))
    assert any(match.fits and match.keys == keys for match in found)
    assert right(found, keys)


@settings(max_examples=60, deadline=None)
@given(cases(), st.dictionaries(st.sampled_from(["loss.weight", "metric.0.weight", "n_averaged", "ema.0.bias"]), st.just((3,))))
def test_company_beside_the_network_changes_nothing(case: Case, company: Shapes) -> None:
    keys = {key: f"inner.{own}" for key, own in case.keys.items()}
    found = matches({**company, **{f"inner.{own}": shape for own, shape in case.file.items()}}, Wanted(case.shapes))
    assert any(match.fits and match.keys == keys for match in found)
    assert right(found, keys)


@settings(max_examples=60, deadline=None)
@given(cases(), st.data())
def test_a_tensor_that_is_missing_is_never_replaced(case: Case, data: st.DataObject) -> None:
    lost = data.draw(st.sampled_from(sorted(case.keys)))
    file = {own: shape for own, shape in case.file.items() if own != case.keys[lost]}
    assert not any(match.fits for match in matches(file, Wanted(case.shapes)))


@settings(max_examples=60, deadline=None)
@given(cases(), st.data())
def test_a_tensor_of_another_shape_is_never_taken(case: Case, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(case.keys)))
    file = {**case.file, case.keys[key]: (7, 7, 7)}
    assert not any(match.fits for match in matches(file, Wanted(case.shapes)))


@settings(max_examples=60, deadline=None)
@given(cases(), st.data())
def test_a_tensor_too_many_beside_another_is_never_left_out(case: Case, data: st.DataObject) -> None:
    beside = data.draw(st.sampled_from(sorted(case.keys.values())))
    file = {**case.file, f"{beside.rpartition('.')[0]}.more".lstrip("."): (3,)}
    assert not any(match.fits for match in matches(file, Wanted(case.shapes)))


@settings(max_examples=60, deadline=None)
@given(TREES, TREES)
def test_two_networks_in_one_file_are_never_mixed(one: dict, other: dict) -> None:
    shapes = keys_of(one)
    file = keys_of({"a": one, "b": other})
    for match in matches(file, Wanted(shapes)):
        assert not match.fits or len({own.partition(".")[0] for own in match.keys.values()}) == 1


# Examples.

NET: Shapes = {"conv.weight": (6, 2), "bn.weight": (6,), "bn.bias": (6,), "bn.num_batches_tracked": (), "fc.weight": (5, 6)}


def prefixed(prefix: str, shapes: Shapes = NET) -> Shapes:
    return {prefix + key: shape for key, shape in shapes.items()}


def only(shapes: Shapes, wanted: Wanted | None = None) -> Match:
    (match,) = matches(shapes, wanted or Wanted(NET))
    return match


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.", "model.net.0."])
def test_a_prefix_is_found(prefix: str) -> None:
    match = only(prefixed(prefix))
    assert match.fits
    assert match.prefix == prefix
    assert match.keys == {key: prefix + key for key in NET}


def test_a_prefix_of_a_part_is_found() -> None:
    shapes = {key.replace("bn.", "bn.module."): shape for key, shape in NET.items()}
    assert only(shapes).keys == {key: key.replace("bn.", "bn.module.") for key in NET}


def test_a_file_may_have_fewer_names() -> None:
    wanted = Wanted({key.replace("bn.", "bn.norm."): shape for key, shape in prefixed("net.").items()})
    match = only(NET, wanted)
    assert match.fits
    assert match.root == "net."


def test_counters_need_not_agree() -> None:
    assert only({key: shape for key, shape in NET.items() if "tracked" not in key}).fits
    assert only({**NET, "old.num_batches_tracked": ()}).fits
    assert "bn.num_batches_tracked" not in only({**NET, "bn.num_batches_tracked": (1,)}).keys


def test_several_networks_are_all_found() -> None:
    found = matches({**prefixed("a."), **prefixed("b.")}, Wanted(NET))
    assert [match.prefix for match in found] == ["a.", "b."]


def test_a_network_inside_of_one_with_more_is_not_taken_for_it() -> None:
    match = only({**NET, **prefixed("copy.")})
    assert not match.fits
    assert set(match.extra) == set(prefixed("copy.")) - {"copy.bn.num_batches_tracked"}


@pytest.mark.parametrize("lost", [key for key in NET if "tracked" not in key])
def test_a_missing_tensor_is_named_behind_any_prefix(lost: str) -> None:
    match = only(prefixed("net.", {key: shape for key, shape in NET.items() if key != lost}))
    assert (match.missing, match.extra, match.unlike) == ((lost,), {}, ())


def test_a_tensor_of_another_shape_is_named_behind_any_prefix() -> None:
    match = only(prefixed("net.", {**NET, "fc.weight": (7, 6)}))
    assert (match.missing, match.extra, match.unlike) == ((), {}, ("fc.weight",))


def test_a_tensor_too_many_is_named_as_in_the_file_and_as_in_the_network() -> None:
    match = only(prefixed("net.", {**NET, "head.weight": (3,)}))
    assert match.extra == {"net.head.weight": "head.weight"}


def test_the_state_of_a_neuron_is_told_from_a_constant_of_it() -> None:
    wanted = Wanted(NET, neurons=frozenset({"lif"}))
    match = only(prefixed("net.", {**NET, "lif.v": (16, 6), "lif.module.mem": (16, 6)}), wanted)
    assert not match.fits
    match = only(prefixed("net.", {**NET, "lif.v": (16, 6), "lif.mem": (16, 6)}), wanted)
    assert match.fits
    assert match.states == ("net.lif.v", "net.lif.mem")
    for key in ("lif.v_threshold", "lif.tau", "other.v", "v", "lif.deeper.v"):
        assert not only({**NET, key: (6,)}, wanted).fits


def test_optional_keys_may_be_missing_and_are_taken_where_they_are() -> None:
    wanted = Wanted({**NET, "lif.factor": ()}, optional=frozenset({"lif.factor"}))
    assert only(NET, wanted).fits
    assert only({**NET, "lif.factor": ()}, wanted).keys["lif.factor"] == "lif.factor"


def test_keys_of_very_many_names_are_matched_in_time() -> None:
    long = {".".join(["a"] * 3000 + ["weight"]): (3,), **{f"{i}.{'b.' * 40}weight": (3,) for i in range(50)}}
    assert not matches(long, Wanted(NET))[0].fits
    assert matches(long, Wanted(long))[0].fits


def test_a_size_may_be_any() -> None:
    assert alike((3, 4), (None, 4))
    assert not alike((3, 4), (None, 5))
    assert not alike((3,), (3, None))
