"""Capture: from a module of one time step to a `SpikingProgram`.

The road, one file each:

    first_run      run one step once: what neurons carry, which of them run, on which shapes
    slots          put a stand-in into the place of every neuron
    tracing        `torch.export` with the state made explicit and the batch left open
    passes         rewrite the graph, one named pass per file
    samples_apart  check that no sample of a batch depends on the others
"""

from __future__ import annotations

from snnconv.capture.first_run import does_not_run
from snnconv.capture.samples_apart import ANY_BATCH, SAMPLES_APART, is_in_inference_form
from snnconv.capture.slots import Call, Feedback, Filter, Interface
from snnconv.capture.step import NO_NEURON, capture

__all__ = [
    "ANY_BATCH",
    "NO_NEURON",
    "SAMPLES_APART",
    "Call",
    "Feedback",
    "Filter",
    "Interface",
    "capture",
    "does_not_run",
    "is_in_inference_form",
]
