"""The first kind of source that claims a file loads it; kinds of other packages are asked first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from snnconv.errors import InputError
from snnconv.sources import SOURCES, Source, SourceKind, SourceOptions, load_source
from tests.cli.run import run
from tests.networks import per_channel, source_of


@pytest.fixture
def toy() -> Iterator[SourceKind]:
    """A kind of source of another package: files called `.toy` hold nothing but the seed of a network."""

    def load(path: Path, options: SourceOptions) -> Source:
        torch.manual_seed(int(path.read_text()))
        return source_of(per_channel(), timesteps=options.timesteps or 4)

    yield SOURCES.register("toy", SourceKind(lambda path, options: path.suffix == ".toy", load))
    SOURCES.discard("toy")


def test_a_source_of_another_package_is_loaded(toy: SourceKind, tmp_path: Path) -> None:
    (tmp_path / "net.toy").write_text("3")
    source = load_source(tmp_path / "net.toy", SourceOptions(timesteps=2))
    assert list(source.program.neurons) == ["act1", "act2", "act3"] and source.program.contract.timesteps == 2


def test_a_source_of_another_package_is_converted_by_the_command_line(toy: SourceKind, tmp_path: Path) -> None:
    (tmp_path / "net.toy").write_text("3")
    assert run("convert", tmp_path / "net.toy", "-o", tmp_path / "net.onnx").code == 0
    assert (tmp_path / "net.onnx").is_file()


def test_without_the_package_the_file_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "net.toy").write_text("3")
    with pytest.raises(InputError, match=r"net\.toy: not a checkpoint"):
        load_source(tmp_path / "net.toy", SourceOptions())
