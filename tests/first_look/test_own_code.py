"""Whatever way a user's code got into the process, its functions and classes are seen as his own."""

from __future__ import annotations

import importlib.util
import runpy
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnconv.first_look.own_code import own_classes, own_functions
from tests.adapters.conversions import loaded

CODE = """
import snntorch, torch
from torch import nn
num_steps = 7

class Net(nn.Module):
    input_shape = (6,)

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.lif = nn.Linear(6, 4), snntorch.Leaky(beta=0.9, threshold=0.2)

    def forward(self, x):
        mem = self.lif.init_leaky()
        spikes = []
        for _ in range(num_steps):
            out, mem = self.lif(self.fc(x), mem)
            spikes.append(out)
        return torch.stack(spikes)
"""


def as_a_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("a_name_of_no_module", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Net


def as_text(path: Path, name: dict[str, str]) -> Any:
    space: dict[str, Any] = dict(name)
    exec(compile(path.read_text(), path, "exec"), space)
    return space["Net"]


WAYS: dict[str, Callable[[Path], Any]] = {
    "a file that is no module": as_a_file,
    "a path that is run": lambda path: runpy.run_path(str(path))["Net"],
    "text, as in a notebook": lambda path: as_text(path, {"__name__": "__main__"}),
    "text without a name": lambda path: as_text(path, {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_network_is_taken_however_its_code_is_loaded(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text(CODE)
    kind = WAYS[way](tmp_path / "net.py")
    assert kind.forward in own_functions(kind())
    monkeypatch.setattr("snnconv.sources.factory.imported", lambda arch, called: kind)
    source = loaded(kind(), "net:make", tmp_path)
    assert source.settings["timesteps"] == "7 (network)"
    x = torch.rand(5, 6)
    torch.testing.assert_close(source.program.run(x), kind()(x).mean(0))


def test_classes_of_python_and_of_torch_are_not_ones_own() -> None:
    class Own(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return x

    assert own_classes(Own) == [Own]
    values: tuple[object, ...] = (Lock(), OrderedDict(), 3, "text", torch.zeros(2), nn.Linear(2, 2), iter([]), print)
    for value in values:
        assert own_classes(type(value)) == [], type(value)
