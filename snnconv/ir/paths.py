"""Which names of layers a graph of torch can hold: it writes them into code, beside attributes of its own."""

from __future__ import annotations

import keyword
from collections.abc import Iterable

from torch import fx, nn

from snnconv.errors import Refused


def is_name(text: object) -> bool:
    """Whether generated code can use `text` as a name of its own."""
    return isinstance(text, str) and text.isidentifier() and not keyword.iskeyword(text)


def is_path(path: str) -> bool:
    """Whether generated code reads at `path` what was put there, and does nothing else.

    Torch writes what is no identifier between double quotes, as it is.
    """
    return all(is_name(part) or _is_quotable(part) for part in path.split("."))


def ensure_paths(paths: Iterable[str]) -> None:
    """Raise `Refused` for the first path that a graph cannot hold."""
    graph = fx.GraphModule(nn.Module(), fx.Graph())
    for path in filter(None, paths):
        first, *rest = path.split(".")
        taken = hasattr(graph, first) or any(hasattr(nn.Module, part) for part in rest)
        if taken or not is_path(path):
            raise Refused(f"the network has a name that torch's graphs cannot hold, in {path!r}", "rename it in the network")


def _is_quotable(part: str) -> bool:
    return bool(part) and not part.isidentifier() and part.isprintable() and not set(part) & set('"\\')
