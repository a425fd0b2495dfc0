"""What a user probably meant: the known name nearest to a misspelt one, and `package.module:name` for a path of a module."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import PurePath


def meant(word: str, known: Iterable[str]) -> str:
    """`did you mean 'sequence'? `, to be put in front of the list of names; empty if none of `known` resembles `word`."""
    spelt = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), spelt, n=1)
    return f"did you mean '{spelt[near[0]]}'? " if near else ""


def factory_meant(text: str) -> str:
    """`did you mean common:net? ` for `common.py:net`, `./common.py:net` and `common.net`; empty for `common:net` itself.

    A folder in the path becomes a package, unless it is outside the current folder.
    """
    place, colon, name = text.rpartition(":") if ":" in text else (text, "", "")
    path = PurePath(place)
    is_path = path.suffix == ".py" or len(path.parts) > 1
    if not colon and not is_path:
        place, _, name = text.rpartition(".")
        path = PurePath(place)
    elif not is_path:
        return ""
    parts = path.with_suffix("").parts if path.suffix == ".py" else path.parts
    module = parts[-1] if path.is_absolute() or ".." in parts else ".".join(parts)
    return f"did you mean {module}:{name or 'FACTORY'}? " if parts and module else ""
