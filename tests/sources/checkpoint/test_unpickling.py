"""A pickle is read without running anything: what only code could make is left out, named, and refused where it is all."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import io
import os
import pickle
import pickletools
import struct
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from snnconv.errors import InputError, Refused, SnnconvError
from snnconv.files import Content
from snnconv.sources import SourceOptions
from snnconv.sources.checkpoint import Checkpoint, Wanted, fit, take
from snnconv.sources.checkpoint.reading import read_value
from tests.sources.checkpoint.files import loaded, same, saved, state


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Settings:
    lr: float = 0.1


class Slotted:
    __slots__ = ("a",)

    def __init__(self) -> None:
        self.a = 1


class Attributes(dict):
    """A dict that is also an object, as configuration libraries have it."""


class OnLoad:
    """An object whose `__setstate__` would leave a trace."""

    ran = False

    def __getstate__(self) -> dict[str, int]:
        return {"a": 1}

    def __setstate__(self, state: dict[str, int]) -> None:
        OnLoad.ran = True


COMPANY: dict[str, tuple[Callable[[], object], str]] = {
    "namespace": (lambda: argparse.Namespace(lr=0.1), "argparse.Namespace"),
    "simple namespace": (lambda: types.SimpleNamespace(lr=0.1), "types.SimpleNamespace"),
    "path": (lambda: PurePosixPath("/data"), "pathlib.PurePosixPath"),
    "datetime": (lambda: datetime.datetime(2024, 1, 1), "datetime.datetime"),
    "delta": (lambda: datetime.timedelta(3), "datetime.timedelta"),
    "decimal": (lambda: decimal.Decimal("0.1"), "decimal.Decimal"),
    "enum": (lambda: Colour.RED, f"{__name__}.Colour"),
    "dataclass": (Settings, f"{__name__}.Settings"),
    "slots": (Slotted, f"{__name__}.Slotted"),
    "dict of its own": (lambda: Attributes(lr=0.1), f"{__name__}.Attributes"),
    "partial": (lambda: functools.partial(int, base=2), "functools.partial"),
    "function": (lambda: os.getcwd, "posix.getcwd"),
    "class": (lambda: nn.Linear, "torch.nn.modules.linear.Linear"),
    "module": (lambda: nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    "state": (OnLoad, f"{__name__}.OnLoad"),
    "numpy scalar": (lambda: np.float32(0.5), "numpy.float32"),
    "numpy array": (lambda: np.eye(3), "an array of numpy"),
    "numpy array of objects": (lambda: np.array([{}], dtype=object), "numpy"),
    "numpy generator": (lambda: np.random.default_rng(0), "numpy"),
    "chain map": (lambda: collections.ChainMap({}), "collections.ChainMap"),
}
WRITERS: dict[str, Callable[[object, Path], object]] = {
    "zip": torch.save,
    "zip, pickle 4": lambda value, path: torch.save(value, path, pickle_protocol=4),
    "before 1.6": lambda value, path: torch.save(value, path, _use_new_zipfile_serialization=False),
    "pickle 5": lambda value, path: path.write_bytes(pickle.dumps(value, 5)),
}


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("how", WRITERS)
@pytest.mark.parametrize("kind", COMPANY)
def test_company_is_left_out_with_a_note_that_names_it(kind: str, how: str, tmp_path: Path) -> None:
    make, name = COMPANY[kind]
    path = tmp_path / "net.pth"
    WRITERS[how]({"state_dict": state(), "more": {"thing": [make()]}}, path)
    read = loaded(path)
    assert same(read.tensors, state())
    (note,) = (note for note in read.notes if "no code was run" in note)
    assert "'more/thing/0" in note
    assert name in note
    assert not OnLoad.ran


def plain() -> dict[str, object]:
    return {
        "numbers": [1, -1, 2**70, 0.5, True, None, 1 + 2j],
        "texts": ("a", b"b", bytearray(b"c"), "\u00e9\n"),
        "sets": {1, 2} | {3},
        "frozen": frozenset({1}),
        "ordered": collections.OrderedDict(a=1),
        "default": collections.defaultdict(list, {"a": [1]}),
        "counter": collections.Counter("aab"),
        "torch": (torch.device("cpu"), torch.float32, torch.Size([3, 8])),
        "nested": {1: {(1, 2): {(1, (2, 3)): ()}}},
    }


@pytest.mark.parametrize("how", WRITERS)
def test_plain_data_need_no_note(how: str, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    WRITERS[how]({"state_dict": state(), **plain()}, path)
    read = loaded(path)
    assert same(read.tensors, state())
    assert read.notes == ("state-dict found under 'state_dict'",)


def test_a_network_pickled_whole_is_refused_with_the_lines_that_save_its_weights(tmp_path: Path) -> None:
    words = (
        r"would run code \(torch\.nn\.modules\.linear\.Linear\).*: net = torch\.load\('net\.pth', weights_only=False\)%s; torch"
    )
    with pytest.raises(Refused, match=words % ""):
        loaded(saved(tmp_path, nn.Linear(3, 2)))
    with pytest.raises(Refused, match=words % r"\['model'\]"):
        loaded(saved(tmp_path, {"model": nn.Linear(3, 2), "epoch": 3}))


def test_a_tensor_with_attributes_of_its_own_is_read(tmp_path: Path) -> None:
    held = state()
    held["head.weight"].tag = "mine"  # type: ignore[attr-defined]
    assert same(loaded(saved(tmp_path, held)).tensors, state())


OPERATIONS = st.sampled_from(
    [
        *(operation.code.encode("latin-1") for operation in pickletools.opcodes if operation.arg is None),
        *(b"K\x00", b"K\x01", b"q\x00", b"q\x01", b"h\x00", b"h\x01", b"X\x01\x00\x00\x00w", b"U\x07storage"),
        *(b"cos\nsystem\n", b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n"),
        *(b"ctorch._utils\n_rebuild_parameter\n", b"cnumpy\ndtype\n", b"c_codecs\nencode\n", b"cbuiltins\nset\n"),
        *(b"cnumpy._core.multiarray\n_reconstruct\n", b"ctorch.storage\n_load_from_bytes\n", b"cnumpy\nndarray\n"),
        *(b"ctorch._utils\n_rebuild_qtensor\n", b"ctorch._tensor\n_rebuild_from_type_v2\n", b"cbuiltins\ncomplex\n"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(OPERATIONS, max_size=25), st.booleans())
def test_operations_in_any_order_are_an_error_at_most(operations: list[bytes], within: bool) -> None:
    data = b"\x80\x02" + (b"}X\x01\x00\x00\x00w" if within else b"") + b"".join(operations) + (b"s." if within else b".")
    checkpoint = functools.partial(read_value, Content(Path("net.pth"), data))
    try:
        value = Checkpoint(Path("net.pth"), "", len(data), checkpoint())
        found = fit(value, Wanted({"w": (3,)}), SourceOptions())
        if not found.problem:
            take(value, found, SourceOptions())
    except SnnconvError as error:
        assert error.exit_code in (2, 3)


# Pickles that want more. Each is written by hand, operation by operation.


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def deep(value: object, depth: int) -> object:
    for _ in range(depth):
        value = [value]
    return value


@dataclasses.dataclass
class Reduced:
    """Whatever `parts` say is pickled as the reduction of this object; a function makes them anew each time."""

    parts: tuple[Any, ...] | Callable[[], tuple[Any, ...]]

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts() if callable(self.parts) else self.parts


def hostile(marker: Path) -> Iterator[tuple[str, object]]:
    evil = Evil(marker)
    command = f"touch {marker}"
    yield "value", evil
    yield "key", {Colour.RED: evil}
    yield "deep", deep(evil, 40)
    yield "too deep", deep(evil, 300)
    yield "in a container", collections.OrderedDict(a=collections.defaultdict(list, {"b": (evil,)}))
    yield "as the state of a container", Reduced((collections.OrderedDict, (), {"a": evil}))
    yield "as the default of a dict", collections.defaultdict(functools.partial(os.system, command))
    yield "as the state of an object", Reduced((argparse.Namespace, (), {"a": evil}))
    yield "eval", Reduced((eval, (f"__import__('os').system('{command}')",)))
    yield "an attribute", Reduced((getattr, (Evil, "__reduce__")))
    yield "a list filled", Reduced(lambda: (Attributes, (), None, iter([evil])))
    yield "a dict filled", Reduced(lambda: (Attributes, (), None, None, iter([("a", evil)])))
    yield "a state set by a function", Reduced((argparse.Namespace, (), {"a": 1}, None, None, os.system))
    yield "hooks of a tensor", Reduced((torch._utils._rebuild_parameter, (torch.zeros(1), False, evil)))
    yield "a type of tensor", Reduced((torch._tensor._rebuild_from_type_v2, (os.system, torch.Tensor, (command,), {})))
    yield "a file in the file", Reduced((torch.storage._load_from_bytes, (pickle.dumps(evil),)))
    yield "an array of objects", np.array([evil], dtype=object)
    yield "a type of array", Reduced((np.dtype, (evil,)))
    yield "an encoder", Reduced((__import__("_codecs").encode, (command, "unicode_escape")))


NAMES = [name for name, _ in hostile(Path("x"))]


@pytest.mark.parametrize("how", ["zip", "before 1.6", "pickle 5"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_a_pickle_wants_is_run(name: str, how: str, tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "net.pth"
    evil = dict(hostile(marker))[name]
    WRITERS[how]({"state_dict": state(), "more": evil}, path)
    try:
        assert same(loaded(path).tensors, state())
    except SnnconvError as error:
        assert name == "a file in the file", error
    assert not marker.exists()


def in_zip(folder: Path, pickled: bytes, **members: bytes) -> Path:
    path = folder / "net.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {"archive/data.pkl": pickled, **members}.items():
            archive.writestr(name, content)
    return path


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x03tQ"
"""A storage of three floats, as `archive/data/0`."""


def tensor(arguments: bytes, function: bytes = b"ctorch._utils\n_rebuild_tensor_v2\n", storage: bytes = STORAGE) -> bytes:
    """A state-dict of one tensor with these arguments behind its storage."""
    return b"\x80\x02}X\x01\x00\x00\x00w" + function + b"(" + storage + arguments + b"tRs."


SOUND = b"K\x00K\x03\x85K\x01\x85\x89N"


def test_a_tensor_written_by_hand_is_read(tmp_path: Path) -> None:
    path = in_zip(tmp_path, tensor(SOUND), **{"archive/data/0": struct.pack("<3f", 1, 2, 3)})
    assert loaded(path, {"w": torch.zeros(3)}).tensors["w"].tolist() == [1, 2, 3]


DAMAGED: dict[str, bytes] = {
    "beyond its storage": tensor(b"K\x01K\x03\x85K\x01\x85\x89N"),
    "strides beyond its storage": tensor(b"K\x00K\x03\x85K\x02\x85\x89N"),
    "a negative offset": tensor(b"J\xff\xff\xff\xffK\x03\x85K\x01\x85\x89N"),
    "a negative stride": tensor(b"K\x02K\x03\x85J\xff\xff\xff\xff\x85\x89N"),
    "a shape that is no number": tensor(b"K\x00X\x01\x00\x00\x00a\x85K\x01\x85\x89N"),
    "a huge storage": tensor(SOUND, storage=STORAGE.replace(b"K\x03tQ", b"\x8a\x08" + struct.pack("<q", 2**62) + b"tQ")),
    "no kind of storage": tensor(SOUND, storage=STORAGE.replace(b"FloatStorage", b"EvilStorage")),
    "no storage": tensor(SOUND, storage=b"K\x01"),
    "an object for a storage": tensor(SOUND, storage=b"cos\nsystem\n)R"),
    "a tensor for a storage": tensor(SOUND, storage=tensor(SOUND)[5:-2][4:]),
    "a member elsewhere": tensor(SOUND, storage=STORAGE.replace(b"\x01\x00\x00\x000", b"\x0b\x00\x00\x00../data.pkl")),
    "a list as its own key": b"\x80\x02}q\x00]q\x01h\x01h\x01s.",
    "nothing in the memo": b"\x80\x02}X\x01\x00\x00\x00wh\x05s.",
    "an empty stack": b"\x80\x02R.",
    "no mark": b"\x80\x02}u.",
    "no end": b"\x80\x02}",
    "an unknown operation": b"\x80\x02\xff.",
    "a text longer than the file": b"\x80\x02X\xff\xff\xff\x7fa.",
    "a text of 2**63 bytes": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffa.",
    "something set on a list": b"\x80\x02]}b.",
    "too few in a tuple": b"\x80\x02K\x01\x87.",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_pickle_that_makes_no_sense_is_damage(name: str, tmp_path: Path) -> None:
    path = in_zip(tmp_path, DAMAGED[name], **{"archive/data/0": struct.pack("<3f", 1, 2, 3)})
    with pytest.raises(InputError, match=r"net\.pth: (cannot be read as a torch checkpoint|is damaged|holds)"):
        loaded(path, {"w": torch.zeros(3)})


@pytest.mark.parametrize("operation", [b"K\x00K\x01s", b"(K\x00K\x01u", b"}b", b"(K\x01e", b"K\x01a"])
def test_a_tensor_that_is_changed_after_it_was_made_is_not_taken(operation: bytes, tmp_path: Path) -> None:
    changed = tensor(SOUND).removesuffix(b"s.") + operation + b"s."
    path = in_zip(tmp_path, changed, **{"archive/data/0": struct.pack("<3f", 1, 2, 3)})
    with pytest.raises(SnnconvError):
        loaded(path, {"w": torch.zeros(3)})


def test_a_storage_of_another_size_than_it_says_is_damage(tmp_path: Path) -> None:
    path = in_zip(tmp_path, tensor(SOUND), **{"archive/data/0": bytes(16)})
    with pytest.raises(InputError, match=r"is damaged \(the values of a tensor should take 12 bytes, but take 16"):
        loaded(path, {"w": torch.zeros(3)})


def test_a_key_of_a_million_tuples_is_never_hashed(tmp_path: Path) -> None:
    path = in_zip(tmp_path, b"\x80\x02})" + b"\x85" * 10**6 + b"K\x01s.")
    with pytest.raises(InputError, match="not a state-dict"):
        loaded(path)


def test_values_that_share_their_parts_are_walked_once(tmp_path: Path) -> None:
    level: object = [1]
    for _ in range(50):
        level = [level, level]
    assert same(loaded(saved(tmp_path, {"state_dict": state(), "more": level})).tensors, state())


def test_copies_of_one_text_are_counted(tmp_path: Path) -> None:
    text = b"X" + struct.pack("<I", 2**20) + b"a" * 2**20 + b"q\x00"
    copy = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
    path = in_zip(tmp_path, b"\x80\x02" + text + b"0(" + copy * 200 + b"l.")
    with pytest.raises(InputError, match=r"its contents claim \d+ bytes"):
        loaded(path)


def test_a_file_that_holds_itself_ends(tmp_path: Path) -> None:
    nested: dict[str, Any] = {"list": []}
    nested["list"] += [nested, nested["list"]]
    nested["state_dict"] = {**state(), "more": nested}
    assert same(loaded(saved(tmp_path, nested)).tensors, state())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_of_every_protocol_are_read(protocol: int) -> None:
    from snnconv.inert_pickle import read_any_pickle

    value = {"a": [1, 2.5, None, True, "\u00e9", "x" * 300, 2**2000, (), (1,), (1, 2, 3, 4)], "b": {3: [[]]}}
    file = io.BytesIO(pickle.dumps(value, protocol) + b"rest")
    assert read_any_pickle(file) == value
    assert file.read() == b"rest"


def test_operations_are_all_known() -> None:
    from snnconv import inert_pickle

    known = {*inert_pickle._ALL, *inert_pickle._CONSTANTS, *inert_pickle._EMPTY, *inert_pickle._WRITTEN_OUT, "PROTO", "STOP"}
    assert {operation.name for operation in pickletools.opcodes} - known == {"NEXT_BUFFER", "READONLY_BUFFER"}
