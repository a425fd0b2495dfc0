"""Checkpoints: from a file to the tensors of a network, without running any code of the file.

reading           the formats of files, told apart by their content; sharding: those in several files
torch_files       torch's own formats; unpickling: from an inert pickle to tensors and plain data
values            what a file holds: tensors not yet read, and inert records of what only code could make
weight_sets       the sets of weights in a file, and which of them is meant
matching          which tensor of a set is which of the network; reparametrised: weights that are held in parts
fitting           all of that for one network, and what is said about it
soundness         the tensors as float32
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from snnconv.files import read
from snnconv.sources.checkpoint.fitting import Checkpoint, Fit, Fitted, fit, take
from snnconv.sources.checkpoint.matching import Wanted, alike
from snnconv.sources.checkpoint.reading import read_value
from snnconv.sources.checkpoint.sharding import read_shards, shards_of

__all__ = ["Checkpoint", "Fit", "Fitted", "Wanted", "alike", "fit", "read_checkpoint", "take"]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file, or an index and the shards that it lists; tensors are read when they are taken.

    Raises `InputError` for a file that is no checkpoint, or is damaged.
    """
    content = read(path)
    shards = shards_of(content)
    if not shards:
        return Checkpoint(path, content.sha256, len(content.data), read_value(content))
    value, contents = read_shards(content, shards)
    whole = [content.data, *(shard.data for shard in contents)]
    return Checkpoint(path, sha256(b"".join(whole)).hexdigest(), sum(map(len, whole)), value)
