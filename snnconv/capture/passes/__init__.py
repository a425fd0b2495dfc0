"""The passes over the graph of one captured step, in the order in which they run.

A pass is a function `graph -> graph` that rewrites the graph in place, or checks it, and returns it. It raises `Refused` for what
the user's network must not do. A new pass is one file, one line in `PASSES` and one test; its name is that of its function.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import fx

from snnconv.capture.passes.attention import add_heads
from snnconv.capture.passes.batch_size import drop_batch_size
from snnconv.capture.passes.default_eps import write_default_eps
from snnconv.capture.passes.in_place import replace_in_place
from snnconv.capture.passes.inference_form import bring_into_inference_form
from snnconv.capture.passes.membranes import ensure_membranes_unread
from snnconv.capture.passes.metadata_assertions import drop_metadata_assertions
from snnconv.capture.passes.no_ops import drop_no_ops
from snnconv.capture.passes.node_names import name_nodes
from snnconv.capture.passes.time_axis import drop_time_axis
from snnconv.capture.passes.unread_neurons import drop_unread_neurons

Pass = Callable[[fx.Graph], fx.Graph]

PASSES: tuple[Pass, ...] = (
    drop_metadata_assertions,
    bring_into_inference_form,
    write_default_eps,
    drop_no_ops,
    drop_batch_size,
    replace_in_place,
    add_heads,
    drop_time_axis,
    drop_unread_neurons,
    ensure_membranes_unread,
    name_nodes,
)
