"""Neurons that nobody taught: which canonical neuron a layer with memory is, found by its behaviour.

A layer is shown currents, and from nothing but when it fires its constants are found: the threshold by bisection over the ordered
floats, leak and reset from what it carries, measured in the same way. Then it must spike as that neuron does on random currents.

    find        which layers of a network are such neurons
    recording   how the network calls them
    calling     running a layer alone in the same way
    probes      measuring what it carries
    constants   which neuron carries that
    identify    the neuron in every type, confirmed
    places      a layer that is called at several places
    firing      where a layer fires that is none of them
    jumps       functions that fire without a comparison
    written_out where a network fires whose neurons have no layer
    adapter     the adapter of a layer that was identified
"""

from __future__ import annotations

from snnconv.identify.adapter import Identified, listed
from snnconv.identify.facts import NotCanonical
from snnconv.identify.find import Found, find
from snnconv.identify.firing import split_off
from snnconv.identify.identify import identify
from snnconv.identify.places import split
from snnconv.identify.written_out import comparisons_of_steps, why_no_step

__all__ = [
    "Found",
    "Identified",
    "NotCanonical",
    "comparisons_of_steps",
    "find",
    "identify",
    "listed",
    "split",
    "split_off",
    "why_no_step",
]
