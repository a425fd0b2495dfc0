"""Norms over each sample stay in the artifact if the user says so: every format computes them, and every verdict names them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from snnconv.data import Data
from snnconv.engines import open_candidate
from snnconv.errors import InputError, Refused
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.ir import pt2
from snnconv.nn import LIF
from snnconv.results import KEPT
from snnconv.results.verdict import judge
from snnconv.sources import Source, SourceOptions, configure
from snnconv.verify import Reference, verify
from tests.adapters.conversions import ARTIFACTS
from tests.networks import SHAPE, inputs, source_of, trained


class Rms(nn.Module):
    """RMS norm over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 3)).transpose(1, 3)


NORMS = {
    "layer": lambda: nn.LayerNorm([4, 8, 8]),
    "group": lambda: nn.GroupNorm(2, 4),
    "instance": lambda: nn.InstanceNorm2d(4, affine=True),
    "rms": Rms,
}


def source_with(kind: str, keep: tuple[str, ...]) -> Source:
    """A network with one norm over each sample and a batch norm, of which the former are to be kept."""
    layers = (nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), LIF(threshold=0.3), nn.Conv2d(4, 4, 1))
    net = trained(nn.Sequential(*layers, NORMS[kind](), LIF(threshold=0.3), nn.Flatten(), nn.Linear(256, 5)))
    source = source_of(net, shape=SHAPE)
    settings = {"keep_norm": f"{','.join(keep)} (option)"}
    origin = replace(source.program.origin, keep_norms=keep, settings=settings)
    return replace(source, program=replace(source.program, origin=origin))


@pytest.mark.sample(2)
@pytest.mark.parametrize(("file", "form"), ARTIFACTS)
@pytest.mark.parametrize("kind", NORMS)
def test_a_kept_norm_is_equivalent_in_every_artifact_and_named_in_the_verdict(
    kind: str, file: str, form: str, tmp_path: Path
) -> None:
    source = source_with(kind, (kind,))
    folded = fold(source.program)
    export(folded, tmp_path / file, format_of(tmp_path / file), form)
    found = verify(Reference(source), open_candidate(tmp_path / file).load(), Data(inputs(source), None, "noise"), ("s", file))
    assert judge(found).word == f"EQUIVALENT, norms kept: {kind}"
    assert [site.outcome for site in folded.sites].count(KEPT) == 1


@pytest.mark.parametrize("kind", NORMS)
def test_without_the_option_the_refusal_names_it(kind: str) -> None:
    with pytest.raises(Refused, match=rf"cannot fold .*; leave it in the artifact with --keep-norm {kind}$"):
        fold(source_with(kind, ()).program)


def test_the_option_names_every_norm_that_would_be_left() -> None:
    with pytest.raises(Refused, match=r"--keep-norm layer,group$"):
        net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), LIF(), nn.Flatten(), nn.LayerNorm(144), nn.Linear(144, 3))
        source = source_of(net.eval())
        fold(replace(source.program, origin=replace(source.program.origin, keep_norms=("layer",))))


def test_a_norm_to_keep_that_is_not_there_is_an_error() -> None:
    with pytest.raises(Refused, match="there is no layer norm to keep; leave layer out of --keep-norm"):
        fold(source_with("group", ("group", "layer")).program)


def test_what_is_kept_is_kept_in_the_file_of_a_folded_program(tmp_path: Path) -> None:
    folded = fold(source_with("group", ("group",)).program)
    pt2.save(folded, tmp_path / "f.pt2")
    again = pt2.load(tmp_path / "f.pt2")
    assert again.origin.keep_norms == ("group",) and again.sites == folded.sites
    x = torch.rand(3, *SHAPE)
    assert torch.equal(again.run(x), folded.run(x))


def test_a_batch_norm_cannot_be_kept() -> None:
    with pytest.raises(InputError, match=r"keep-norm is 'batch'; .*it is some of layer, group, instance, rms"):
        SourceOptions(keep_norm=("batch",))


@pytest.mark.parametrize("written", ['"layer, group"', '["layer", "group"]'])
def test_a_settings_file_says_which_norms_are_kept(written: str, tmp_path: Path) -> None:
    (tmp_path / "snnconv.toml").write_text(f"keep-norm = {written}")
    assert configure(SourceOptions(), tmp_path / "snnconv.toml").keep_norm == ("layer", "group")
