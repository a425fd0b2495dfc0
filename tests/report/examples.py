"""Verdicts that tests of reports share: one equivalent, one that fails in every way a report shows, one of a shard."""

from __future__ import annotations

from dataclasses import replace

from snnconv.results import (
    LEVELS,
    MARGIN_BINS,
    NOT_CHECKED,
    UNPROVEN,
    Check,
    DataSummary,
    Difference,
    LayerTally,
    Probe,
    Task,
    Thresholds,
    Verification,
)
from snnconv.results.verdict import Policy, Verdict, judge

MARGINS = (0, 2, 5, 11, 40, 130, 420, 1900, 9100, 40100, 88000, 61000, 9000, 700, 12, 1)
EXPLAINED = (1, 1, 0, 1, *[0] * (MARGIN_BINS - 4))
UNEXPLAINED = (0, 0, 1, 0, 0, 2, 1, *[0] * (MARGIN_BINS - 7))
ENVIRONMENT = {"python": "3.11.9", "torch": "2.13.0", "onnxruntime": "1.31.1", "cpu": "x86_64, AVX-512"}
SETTINGS = {
    "arch": "samples.fashion:per_channel (option)",
    "timesteps": "4 (factory)",
    "input": "static (data)",
    "readout": "mean (default)",
    "leak": "0.25 (layers)",
    "strict": "True and False (layers)",
}
LAYERS = (
    LayerTally("first.neuron", 12_544_000, 3, worst=0.074, spikes_reference=3_273_984, spikes_candidate=3_273_984,
               margins=MARGINS, flips=EXPLAINED),
    LayerTally("last.neuron", 3_136_000, worst=0.018, spikes_reference=254_016, spikes_candidate=254_016,
               margins=tuple(n // 5 for n in MARGINS), flips=(0,) * MARGIN_BINS),
    LayerTally("output", 5_000, worst=0.005),
)  # fmt: skip
THRESHOLDS = (
    Thresholds("first.neuron", 8, 2, 0, 1, -63.59, 300.2, (1, 0, 3, 1, 0, 0, 1, 0, 0, 1)),
    Thresholds("last.neuron", 32, 0, 0, 0, 0.5, 0.5, (32,)),
)
GOOD = Verification(
    "fashion.pth",
    "5b" * 32,
    "samples.fashion:per_channel",
    "fashion.onnx",
    "c4" * 32,
    "ONNX Runtime 1.31.1",
    "sequence",
    DataSummary("fashion_test500.npz", 500, "9f" * 32, 500, "a1" * 32),
    LEVELS,
    ENVIRONMENT,
    None,
    (
        Check("contract", "", True, "T = 4, one image shown, read-out mean"),
        Check("proof", "first.conv", True, "80 constants confirmed"),
        Check("proof", "first.neuron", True, "8 constants confirmed"),
        Check("algebra", "", True, "float64, 2 samples: same spikes, logits to 0.0e+00"),
    ),
    LAYERS,
    (
        Probe("tie", 16, tuple(replace(t, explained=2, margins=(), flips=()) for t in LAYERS[:2]),
              {"first.neuron": 0.0, "last.neuron": 1.0}),
        Probe("extreme", 8, tuple(replace(t, explained=0, margins=(), flips=()) for t in LAYERS[:2]),
              {"first.neuron": 341.5, "last.neuron": None}),
    ),
    Task(500, 500, 3.8e-6, 500, 455, 455, 64, 64, 0),
    None,
    THRESHOLDS,
    ("no sample was left out",),
    1.6,
    "the user's code, samples.fashion:per_channel",
    SETTINGS,
)  # fmt: skip
DIFFERENCE = Difference(
    12,
    2,
    "last.neuron",
    311,
    (307, 308, 309, 310, 311, 312, 313),
    ("0100110", "1001010", "0011001", "1100100"),
    ("0100110", "1001010", "0011101", "1100001"),
)
BAD = replace(
    GOOD,
    candidate="broken.onnx",
    candidate_sha256="d0" * 32,
    levels=("proof", "deployment", "task"),
    shard=(1, 4),
    checks=(
        Check("contract", "", True, "T = 4, one image shown, read-out mean"),
        Check("proof", "last.neuron", False, "1 of 32 in threshold differ, first at [3]: 0.5000001, not 0.5"),
    ),
    layers=(
        LAYERS[0],
        replace(LAYERS[1], unexplained=4, outside=7, inconsistent=1, worst=12.5, first=(12, 2), spikes_candidate=260_100,
                flips=UNEXPLAINED),
        replace(LAYERS[2], worst=None, outside=3, first=(12, 0)),
    ),
    probes=(
        Probe("tie", 16, (LAYERS[0], replace(LAYERS[1], unexplained=2, first=(3, 1))), {"first.neuron": 0.0, "last.neuron": 2.5}),
    ),
    task=Task(125, 119, None, 125, 114, 109, explained=1),
    difference=DIFFERENCE,
    notes=(),
    seconds=0.4,
)  # fmt: skip
UNPROVEN_GRAPH = Check("proof", "graph", False, "the graph is not what snnconv 1 and torch 2 export: line 12", "", UNPROVEN)
NO_FLOAT64 = Check("algebra", "", False, "Toy 1 does not compute in float64", "", NOT_CHECKED)
POLICY = Policy(agreement=0.99, explained_flips=1e-6)


def good() -> Verdict:
    return judge(GOOD, POLICY)


def bad() -> Verdict:
    return judge(BAD, POLICY)


def partial() -> Verdict:
    """Nothing failed, but a shard of the data is not all of it."""
    return judge(replace(GOOD, candidate="shard.onnx", shard=(0, 4), levels=("proof", "deployment", "task")), POLICY)


def unproven() -> Verdict:
    """Nothing failed, but the graph is another than that of an export, and the engine has no float64."""
    checks = (*GOOD.checks[:3], UNPROVEN_GRAPH, NO_FLOAT64)
    return judge(replace(GOOD, candidate="slim.onnx", checks=checks), POLICY)


def unchecked() -> Verdict:
    """Nothing failed, but the engine has no float64."""
    return judge(replace(GOOD, candidate="toy.onnx", checks=(*GOOD.checks[:3], NO_FLOAT64)), POLICY)
