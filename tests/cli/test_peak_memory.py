"""Ten times the samples take no more memory: what a chunk leaves behind is its tallies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.run import ROOT, place

RUN = """
import re, sys
from snnconv.verify import chunks, levels

def keeping(original, kept):
    def chunk(*arguments):
        kept.append((arguments[1].x, original(*arguments)))
        return kept[-1][1]
    return chunk

def hoarding(original, kept):
    def observe(candidate, x):
        kept.append(original(candidate, x))
        return kept[-1]
    return observe

if sys.argv.pop(1) == "keep":
    chunks._seen, levels.observe = keeping(chunks._seen, []), hoarding(levels.observe, [])
from snnconv.cli.main import main
try:
    main()
except SystemExit as stop:
    with open("/proc/self/status") as file:
        print(stop.code, re.search(r"VmHWM:\\s+(\\d+) kB", file.read())[1], file=sys.stderr)
"""
FEW, MANY = 200, 2000


def peak(folder: Path, samples: int, keep: bool = False) -> int:
    """The most memory, in KiB, that a process of its own took to verify so many samples.

    `ru_maxrss` would not do: Linux counts what the process that started it had in memory before.
    """
    search = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN, "keep" if keep else "drop", "verify", "raw.pt2", "net.ts", "--data", f"{samples}.npz"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"},
    )
    assert f"{samples:,} samples" in done.stdout or f"{samples} samples" in done.stdout
    code, kib = map(int, done.stderr.split())
    assert code == 0
    return kib


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("raw.pt2", "net.ts"):
        place(tmp_path, name)
    x = np.random.default_rng(0).random((MANY, 2, 8, 8), np.float32)
    for samples in (FEW, MANY):
        np.savez(tmp_path / f"{samples}.npz", x=x[:samples])
    return tmp_path


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_ten_times_the_samples_take_no_more_memory(folder: Path) -> None:
    few, many = peak(folder, FEW), peak(folder, MANY)
    assert many < 1.1 * few, f"{few} KiB for {FEW} samples, {many} KiB for {MANY}"
    assert peak(folder, MANY, keep=True) > 1.1 * few, "whoever kept every chunk would pass as well"
