"""Calling a network over time: finding out how its forward wants to be called, and calling it so.

finding        tries the ways one after the other, and sees from the calls of the neurons which one it is
watching       one run, and how the neurons were called in it
entries        tensors that hold an entry for each time step
handed_states  the states that a forward of one step is handed and returns
returned       which part of what a forward returns is the output, and whether it has time
random_numbers  that a forward draws none
forwards       what comes of it: a `Forward`, which runs the network whole, and one step of it
"""

from __future__ import annotations

from snnconv.sources.calling.finding import ONE_WAY, Found, find_forward
from snnconv.sources.calling.forwards import Forward, HandedStates, SingleStep, WholeRun
from snnconv.sources.calling.watching import OtherSteps

__all__ = ["ONE_WAY", "Forward", "Found", "HandedStates", "OtherSteps", "SingleStep", "WholeRun", "find_forward"]
