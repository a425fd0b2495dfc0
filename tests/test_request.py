"""A request is plain data: it survives a pickle, and another process that is given it finds the same."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from snnconv.errors import InputError
from snnconv.fold import fold
from snnconv.request import Request, Target
from snnconv.results.document import to_plain
from snnconv.results.verdict import Policy
from snnconv.sources import SourceOptions
from snnconv.verification import verdicts
from snnconv.verify import Plan
from tests.artifacts import written
from tests.cli.run import ROOT
from tests.networks import inputs, per_channel, source_of

WORKER = """
import json, pickle, sys
from snnconv.results.document import to_plain
from snnconv.verification import verdicts
request = pickle.load(sys.stdin.buffer)
print(json.dumps([[verdict.word, to_plain(verdict.verification)] for verdict in verdicts(request)]))
"""


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    """A verification of two artifacts of a small network, on data with labels."""
    source = source_of(per_channel())
    torch.save(per_channel().state_dict(), tmp_path / "net.pth")
    x = inputs(source, 6)
    np.savez(tmp_path / "data.npz", x=x.numpy(), y=np.arange(6) % 5)
    paths = [written(fold(source.program), tmp_path / name) for name in ("net.onnx", "net.ts")]
    options = SourceOptions(arch="tests.networks:per_channel", input_shape=source.program.contract.input_shape)
    return Request(
        tmp_path / "net.pth",
        replace(options, timesteps=source.program.contract.timesteps),
        str(tmp_path / "data.npz"),
        plan=Plan(seed=3),
        policy=Policy(accuracy_drop=0.1),
        candidates=tuple(paths),
    )


def test_a_request_survives_a_pickle_and_cannot_be_changed(request_: Request) -> None:
    whole = replace(request_, targets=(Target(Path("a.onnx"), batch=2),), engine="onnxruntime", resume=Path("journal"))
    assert pickle.loads(pickle.dumps(whole)) == whole
    with pytest.raises(FrozenInstanceError):
        whole.data = None


@pytest.mark.long
def test_another_process_finds_the_same(request_: Request) -> None:
    here = [[verdict.word, to_plain(replace(verdict.verification, seconds=0.0))] for verdict in verdicts(request_)]
    # Another number of threads would sum in another order.
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-c", WORKER]
    done = subprocess.run(command, input=pickle.dumps(request_), cwd=ROOT, env=environment, capture_output=True, check=True)
    there = json.loads(done.stdout)
    assert [word for word, _ in there] == ["EQUIVALENT", "EQUIVALENT"]
    assert [[word, {**plain, "seconds": 0.0}] for word, plain in there] == json.loads(json.dumps(here))


def test_an_unknown_engine_is_refused_before_anything_is_read() -> None:
    with pytest.raises(InputError, match=r"--engine 'onnxruntim' is unknown; did you mean 'onnxruntime'\?"):
        Request(Path("nowhere.pth"), engine="onnxruntim")


def test_an_engine_that_does_not_run_a_format_is_refused(request_: Request) -> None:
    with pytest.raises(InputError, match=r"net\.onnx: --engine torchscript runs no onnx files; leave --engine out"):
        verdicts(replace(request_, engine="torchscript"))
