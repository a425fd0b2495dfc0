"""Results as plain data, one file per subject. No torch here, so that reports and verdicts stay light.

| file | what it holds |
|---|---|
| `folding` | what became of every norm |
| `verification` | what was found about a candidate |
| `verdict` | what a policy makes of that |
| `conversion`, `inspection` | what these commands found |
| `shards` | parts of a verification, put together again |
| `document`, `schema`, `reading`, `flaws` | the JSON document: written, described, read, and what is wrong with one |
"""

from __future__ import annotations

from snnconv.results.conversion import Conversion, Measure
from snnconv.results.folding import EXACT, KEPT, REFUSED, ROUNDING, NormStatistics, Site
from snnconv.results.inspection import Inspection, NeuronView
from snnconv.results.verdict import Policy, Verdict, judge
from snnconv.results.verification import (
    DEFAULT,
    LEVELS,
    MARGIN_BINS,
    MARGIN_BINS_PER_DECADE,
    MARGIN_DECADES,
    NOT_CHECKED,
    OUTPUT,
    UNPROVEN,
    Check,
    DataSummary,
    Difference,
    LayerTally,
    Probe,
    Task,
    Thresholds,
    Verification,
    is_output,
    output_layer,
)

__all__ = [
    "DEFAULT",
    "EXACT",
    "KEPT",
    "LEVELS",
    "MARGIN_BINS",
    "MARGIN_BINS_PER_DECADE",
    "MARGIN_DECADES",
    "NOT_CHECKED",
    "OUTPUT",
    "REFUSED",
    "ROUNDING",
    "UNPROVEN",
    "Check",
    "Conversion",
    "DataSummary",
    "Difference",
    "Inspection",
    "LayerTally",
    "Measure",
    "NeuronView",
    "NormStatistics",
    "Policy",
    "Probe",
    "Site",
    "Task",
    "Thresholds",
    "Verdict",
    "Verification",
    "is_output",
    "judge",
    "output_layer",
]
