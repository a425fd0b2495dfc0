"""Capture: from a module of one time step to a `SpikingProgram`.

The road, one file each:

    first_run      run one step once: what neurons carry, which of them run, on which shapes
    memories       what the network keeps besides, in layers or in the variables of its loop over time
    starts         from what that starts
    slots          put a stand-in into the place of every neuron
    tracing        `torch.export` with the state made explicit and the batch left open
    passes         rewrite the graph, one named pass per file
    samples_apart  check that no sample of a batch depends on the others
"""

from __future__ import annotations

from snnconv.capture.first_run import does_not_run
from snnconv.capture.memories import Several
from snnconv.capture.probing_batch import probing_batch
from snnconv.capture.samples_apart import ANY_BATCH, SAMPLES_APART, is_in_inference_form
from snnconv.capture.selection import SELECTIONS, Selection
from snnconv.capture.slots import Call, Feedback, Filter, Interface
from snnconv.capture.starts import another_start
from snnconv.capture.step import NO_NEURON, capture

__all__ = [
    "ANY_BATCH",
    "NO_NEURON",
    "SAMPLES_APART",
    "SELECTIONS",
    "Call",
    "Feedback",
    "Filter",
    "Interface",
    "Selection",
    "Several",
    "another_start",
    "capture",
    "does_not_run",
    "is_in_inference_form",
    "probing_batch",
]
