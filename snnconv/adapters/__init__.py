"""Adapters: which canonical neuron a layer is, and how it forgets its state.

`snnconv.nn.LIF` and the neurons of the frameworks in `FRAMEWORKS` are known; a framework is one file, imported once the user's
own code has imported that framework. Any other layer whose forward takes a current and gives spikes, one time step a call, is
taught by an adapter, in the file of the factory or in a package of its own:

    @adapter(MyNeuron)
    def my_neuron(layer: MyNeuron) -> Neuron:
        return lif(layer.decay, layer.v_threshold, v_reset=0.0)

Such a package names the module that holds the adapters under the entry point group `snnconv.adapters`:

    [project.entry-points."snnconv.adapters"]
    mine = "my_package.neurons"

    registration  the decorators by which adapters and frameworks are registered
    recognition   which adapter a layer has
    network       what is asked of a whole network: its neurons, how they are called, a reset
    one_step      bringing a copy of a network into the form of one step
    loading       importing frameworks and packages with adapters
"""

from __future__ import annotations

from snnconv.adapters.loading import FRAMEWORKS, PACKAGES, installing, load
from snnconv.adapters.network import (
    added_later,
    checkpoint_loaded,
    interfaces_of,
    neurons_of,
    others_left_alone,
    reset,
    takes_all_steps,
)
from snnconv.adapters.registration import (
    Adapter,
    adapter,
    kept_apart,
    multi_step,
    network_reset,
    on_checkpoint_loaded,
    reset_with_network,
    teach,
    unteach,
)
from snnconv.adapters.strictness import strictness
from snnconv.ir.neuron import lif

__all__ = [
    "FRAMEWORKS",
    "PACKAGES",
    "Adapter",
    "adapter",
    "added_later",
    "checkpoint_loaded",
    "installing",
    "interfaces_of",
    "kept_apart",
    "lif",
    "load",
    "multi_step",
    "network_reset",
    "neurons_of",
    "on_checkpoint_loaded",
    "others_left_alone",
    "reset",
    "reset_with_network",
    "strictness",
    "takes_all_steps",
    "teach",
    "unteach",
]
