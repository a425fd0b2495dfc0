"""Which tensor of a file is which of a network: keys matched by their names and shapes.

Keys are paths in a tree. A file often has more names in its paths than the network, or fewer: wrappers such as `module`, `net` or
`_orig_mod` around all of the network or around a layer. Two trees are aligned from the top; where names differ, a node that has
a single child is passed over. Beside the network there may be company, a criterion or a metric: the network begins at the node
of the file from which it aligns completely. Nothing within the network may be left over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

Shape = tuple[int | None, ...]
"""A shape; None for a size that may be any."""
TRACKED = "num_batches_tracked"
"""The name of a counter of training batches. It is not used at inference: a file and a network may differ in it."""
_DEEPEST = 32
_STATES = frozenset(
    {
        *("v", "u", "i", "s", "o", "c", "h", "mem", "syn", "spk", "cur", "state", "hidden", "current", "potential", "voltage"),
        *("membrane", "spike", "spikes", "syn_exc", "syn_inh", "mem_prev", "spk_prev", "v_seq", "s_seq", "i_seq", "spike_seq"),
    }
)
"""What neurons call their state at run time."""


@dataclass(frozen=True)
class Wanted:
    """The tensors that a network wants.

    Attributes:
        shapes: by their keys.
        optional: keys that a file may lack: the network's own values hold then.
        neurons: the paths of its layers that are neurons.
    """

    shapes: Mapping[str, Shape]
    optional: frozenset[str] = frozenset()
    neurons: frozenset[str] = frozenset()

    def needs(self, key: str) -> bool:
        """Whether a file must hold the key."""
        return key not in self.optional and not key.endswith(TRACKED)

    def is_state(self, key: str) -> bool:
        """Whether a key that the network lacks is the state of one of its neurons at run time."""
        layer, _, name = key.rpartition(".")
        return layer in self.neurons and name.lower().lstrip("_") in _STATES


@dataclass(frozen=True)
class Match:
    """A network found in a file.

    Attributes:
        prefix: what stands in front of its keys in the file.
        root: what stands in front of all of its own keys.
        keys: the file's key of each key of the network that the file has, whatever its shape.
        unlike: keys of the network of which the file holds another shape.
        missing: keys that the network needs and the file lacks.
        extra: keys of the file within the network that the network lacks, each with the name that it would have there.
        states: such keys that are the states of neurons.
    """

    prefix: str
    root: str
    keys: dict[str, str]
    unlike: tuple[str, ...]
    missing: tuple[str, ...]
    extra: dict[str, str]
    states: tuple[str, ...]

    @property
    def agreement(self) -> int:
        """How many keys of the network are in the file with their shapes."""
        return len(self.keys) - len(self.unlike)

    @property
    def fits(self) -> bool:
        """Whether the file has all that the network needs and, within the network, nothing else."""
        return not self.unlike and not self.missing and not self.extra

    def is_within(self, other: Match) -> bool:
        """Whether it is the same network as `other`, told by a longer prefix."""
        return self.prefix.startswith(other.prefix) and self.keys == other.keys and self.extra == other.extra

    def beside(self, shapes: Mapping[str, object]) -> list[str]:
        """The keys of the file that are outside of the network."""
        return [key for key in shapes if not key.startswith(self.prefix)]


def alike(shape: tuple[int, ...], wanted: Shape) -> bool:
    """Whether a shape is the wanted one."""
    return len(shape) == len(wanted) and all(w is None or s == w for s, w in zip(shape, wanted, strict=True))


def matches(shapes: Mapping[str, tuple[int, ...]], wanted: Wanted) -> list[Match]:
    """Every way in which all of the network is in a file, of tensors of `shapes`; if there is none, the one nearest to it.

    If the network is there as well with something missing or left over, that one is given alone: which of them is meant is not
    known.
    """
    root, network = _beneath(_tree(wanted.shapes))
    needed = sum(map(wanted.needs, wanted.shapes))
    found: dict[tuple[tuple[str, str], ...], Match] = {}
    nearest: Match | None = None
    for prefix, node in _below(_tree(shapes)):
        if nearest and len(node.keys) < needed and (2 * len(node.keys) < needed or len(node.keys) <= nearest.agreement):
            continue  # too small to hold the network, or to be nearer to it
        match = _match((prefix, node), (root, network), shapes, wanted)
        if match.fits:
            found[tuple(sorted(match.keys.items()))] = match  # of several prefixes that give the same, the longest
        elif nearest is None or (match.agreement, match.is_within(nearest)) > (nearest.agreement, False):
            nearest = match
    if nearest and (not found or nearest.agreement >= needed > 0):
        return [nearest]
    return list(found.values())


@dataclass
class _Node:
    keys: list[str] = field(default_factory=list)
    """Every key at or below the node."""
    key: str | None = None
    children: dict[str, _Node] = field(default_factory=dict)

    def only_child(self) -> _Node | None:
        return next(iter(self.children.values())) if self.key is None and len(self.children) == 1 else None


def _tree(keys: Mapping[str, object]) -> _Node:
    root = _Node()
    for key in keys:
        node = root
        node.keys.append(key)
        for part in key.split(".", _DEEPEST):
            node = node.children.setdefault(part, _Node())
            node.keys.append(key)
        node.key = key
    return root


def _below(root: _Node) -> Iterator[tuple[str, _Node]]:
    """Every node that has children, the outer before the inner, with the prefix of its keys."""
    level = [("", root)]
    while level:
        yield from level
        level = [(f"{prefix}{name}.", child) for prefix, node in level for name, child in node.children.items() if child.children]


def _beneath(node: _Node) -> tuple[str, _Node]:
    """The first node that has more than one child, and the prefix of its keys."""
    prefix = ""
    while (inner := node.only_child()) is not None and inner.children:
        prefix, node = f"{prefix}{next(iter(node.children))}.", inner
    return prefix, node


def _match(file: tuple[str, _Node], network: tuple[str, _Node], shapes: Mapping[str, tuple[int, ...]], wanted: Wanted) -> Match:
    prefix, node = file
    aligned = _Aligning(shapes, wanted.shapes).align(node, network[1])
    keys = {key: own for key, own in aligned.items() if wanted.needs(key) or alike(shapes[own], wanted.shapes[key])}
    unlike = tuple(key for key, own in keys.items() if not alike(shapes[own], wanted.shapes[key]))
    missing = tuple(key for key in wanted.shapes if key not in keys and wanted.needs(key))
    used = set(keys.values())
    renamed = _renaming(prefix, network[0], keys)
    left = {own: renamed(own) for own in node.keys if own not in used and not own.endswith(TRACKED)}
    states = tuple(own for own, key in left.items() if wanted.is_state(key))
    extra = {own: key for own, key in left.items() if own not in states}
    return Match(prefix, network[0], keys, unlike, missing, extra, states)


class _Aligning:
    """Aligns the nodes of a file with those of a network, each pair once."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], wanted: Mapping[str, Shape]) -> None:
        self.shapes, self.wanted = shapes, wanted
        self._done: dict[tuple[int, int], dict[str, str]] = {}

    def align(self, file: _Node, network: _Node) -> dict[str, str]:
        """The file's key of each key of the network, of the alignment in which the most keys have their shape."""
        pair = id(file), id(network)
        if pair not in self._done:
            self._done[pair] = max(self._ways(file, network), key=self._agreement)
        return self._done[pair]

    def _ways(self, file: _Node, network: _Node) -> Iterator[dict[str, str]]:
        keys = {network.key: file.key} if network.key is not None and file.key is not None else {}
        for name in network.children:
            if name in file.children:
                keys.update(self.align(file.children[name], network.children[name]))
        yield keys
        inner, further = file.only_child(), network.only_child()
        if inner:
            yield self.align(inner, network)
        if further:
            yield self.align(file, further)

    def _agreement(self, keys: dict[str, str]) -> tuple[int, int]:
        return sum(alike(self.shapes[own], self.wanted[key]) for key, own in keys.items()), len(keys)


def _renaming(prefix: str, root: str, keys: Mapping[str, str]) -> Callable[[str], str]:
    """What gives a key of the file the name that it would have in the network, as the keys around it are renamed."""
    places = {prefix.removesuffix("."): root.removesuffix(".")}
    for key, own in keys.items():
        theirs, ours = own.split("."), key.split(".")
        while theirs and ours and theirs.pop() == ours.pop():
            places[".".join(theirs)] = ".".join(ours)

    def renamed(own: str) -> str:
        place, rest = own, []
        while place and place not in places:
            place, _, last = place.rpartition(".")
            rest.append(last)
        return ".".join(part for part in (places.get(place, ""), *reversed(rest)) if part)

    return renamed
