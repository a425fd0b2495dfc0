"""Weights that are held in parts, of which torch computes them: weight norm and spectral norm, in their old and new forms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from snnconv.sources.checkpoint.matching import Match

Value = TypeVar("Value")
_ENDS = {
    "weight norm": (("{}_g", "{}_v"), ("parametrizations.{}.original0", "parametrizations.{}.original1")),
    "spectral norm": (("{}_orig", "{}_u"), ("parametrizations.{}.original", "parametrizations.{}.0._u")),
}
"""How the keys of the parts of a tensor end, `{}` for its name, in the old form and in the new one."""
_OLD = re.compile(r"(?P<layer>(.*\.)?)(?P<name>\w+)_(?P<part>[gv])")
_NEW = re.compile(r"(?P<layer>(.*\.)?)parametrizations\.(?P<name>\w+)\.original(?P<part>[01])")


def in_form_of(tensors: Mapping[str, Value], wanted: Iterable[str]) -> tuple[dict[str, Value], str]:
    """The tensors, those of weight norm called as in the form that the network has, and a note in words if that is another.

    The values are the same in both forms.
    """
    ours, theirs = (_forms(keys) for keys in (wanted, tensors))
    if len(ours) != 1 or len(theirs) != 1 or ours == theirs:
        return dict(tensors), ""
    rename = _to_new if _OLD in theirs else _to_old
    return {rename(key): value for key, value in tensors.items()}, "weight norm read from another form of torch"


def _forms(keys: Iterable[str]) -> set[re.Pattern[str]]:
    """The forms in which weight norm stands in some keys."""
    known = set(keys)
    return {form for form, parts in ((_OLD, _ENDS["weight norm"][0]), (_NEW, _ENDS["weight norm"][1])) if _in_parts(known, parts)}


def _to_new(key: str) -> str:
    found = _OLD.fullmatch(key)
    return key if found is None else f"{found['layer']}parametrizations.{found['name']}.original{'gv'.index(found['part'])}"


def _to_old(key: str) -> str:
    found = _NEW.fullmatch(key)
    return key if found is None else f"{found['layer']}{found['name']}_{'gv'[int(found['part'])]}"


def difference(match: Match) -> tuple[str, str] | None:
    """That only the file or only the network holds a tensor in parts, and what to do about it, in words; None if neither does."""
    for norm, forms in _ENDS.items():
        for parts in forms:
            for layer in _in_parts(set(match.extra), parts):
                what = f"the file holds '{layer}' under {norm} ({_words(parts, layer)}), and the network does not"
                return what, f"apply {norm} in the factory too, or save the network after removing it ({_REMOVE[norm]})"
            for layer in _in_parts(set(match.missing), parts):
                what = f"the network holds '{layer}' under {norm} ({_words(parts, layer)}), and the file does not"
                return what, f"remove it in the factory, because the file was saved after removing it ({_REMOVE[norm]})"
    return None


_REMOVE = {
    "weight norm": "torch.nn.utils.remove_weight_norm, or parametrize.remove_parametrizations",
    "spectral norm": "torch.nn.utils.remove_spectral_norm, or parametrize.remove_parametrizations",
}


def _in_parts(keys: set[str], parts: tuple[str, str]) -> list[str]:
    """The tensors of which both parts are among the keys, by the key that they would have whole."""
    end = re.compile(r"(.*\.)?" + re.escape(parts[0]).replace(r"\{\}", r"(\w+)"))
    found = [(match[1] or "", match[2]) for key in sorted(keys) if (match := end.fullmatch(key))]
    return [f"{layer}{name}" for layer, name in found if f"{layer}{parts[1].format(name)}" in keys]


def _words(parts: tuple[str, str], layer: str) -> str:
    return " and ".join(part.format(layer.rpartition(".")[2]) for part in parts)
