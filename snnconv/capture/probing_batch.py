"""The size of the batch with which a network is probed: one that tells the dimension of the samples from every other."""

from __future__ import annotations

from torch import nn

from snnconv.capture.nested import tensors_in
from snnconv.ir.program import TimeContract

_LEAST = 3


def probing_batch(net: nn.Module, contract: TimeContract) -> int:
    """The smallest size of a batch, from 3 on, that is no other size: of the input, of T, or of a tensor that `net` holds."""
    held = [*net.parameters(), *(tensor for layer in net.modules() for _, tensor in tensors_in([vars(layer), layer._buffers]))]
    taken = {contract.timesteps, *contract.input_shape, *(size for tensor in held for size in tensor.shape)}
    return next(size for size in range(_LEAST, _LEAST + len(taken) + 1) if size not in taken)
