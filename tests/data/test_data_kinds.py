"""The first kind of data that claims a text reads it; kinds of other packages are asked first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from snnconv.data import KINDS, Data, DataKind, Preview, open_data, preview
from snnconv.errors import InputError
from snnconv.ir.program import TimeContract
from tests.cli.run import ARCH, place, run

SHAPE = (2, 8, 8)


@pytest.fixture
def toy() -> Iterator[DataKind]:
    """A kind of data of another package: `ones:N` is N images of ones."""

    def made(text: str) -> Preview:
        x = torch.ones(int(text.removeprefix("ones:")), *SHAPE)
        return Preview((SHAPE,), lambda contract: Data(x, None, text))

    yield KINDS.register("ones", DataKind("ones:N", lambda text: text.startswith("ones:"), made))
    KINDS.discard("ones")


def test_data_of_another_package_are_opened(toy: DataKind) -> None:
    samples = open_data("ones:3", TimeContract(4, SHAPE))
    (chunk,) = samples.read(8)
    assert samples.length == 3 and torch.equal(chunk.x, torch.ones(3, *SHAPE))
    assert preview("ones:3").shapes == (SHAPE,)


def test_data_of_another_package_serve_the_command_line(toy: DataKind, tmp_path: Path) -> None:
    result = run("verify", place(tmp_path, "net.pth"), place(tmp_path, "net.onnx"), *ARCH, "--data", "ones:3")
    assert result.code == 0 and "ones:3" in result.out


def test_every_kind_is_named_if_a_text_is_of_none(toy: DataKind) -> None:
    with pytest.raises(InputError) as caught:
        preview("nothing")
    assert caught.value.todo == (
        "data is a folder of .npz files, an .npz with x and optionally y, an .npy, package.module:factory, or ones:N"
    )


def test_a_kind_without_labels_of_their_own_says_so(toy: DataKind) -> None:
    with pytest.raises(InputError, match=r"labels in a file of their own go with an \.npy, not with ones:3"):
        preview("ones:3", Path("y.npy"))
