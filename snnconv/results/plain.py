"""One verification as a plain dict of JSON values, and back, without loss."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

from snnconv.errors import InputError
from snnconv.results import Verification
from snnconv.results.flaws import first_flaw, json_path
from snnconv.results.layout import STRICT

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError


def to_plain(found: Verification) -> dict[str, Any]:
    """All fields of a verification, flat. Lists, dicts, strings, numbers, booleans and None only."""
    plain: dict[str, Any] = jsonable(asdict(found))
    return plain


def from_plain(plain: Mapping[str, Any], where: str = "verification") -> Verification:
    """The verification that `to_plain` gave. Raises `InputError` for a missing or unknown field, a wrong type, or
    a value that makes no sense."""
    from pydantic import ValidationError

    try:
        (found,) = _adapter().validate_json(json.dumps([jsonable(plain)]))
    except ValidationError as error:
        raise InputError(f"{where}: {first_problem(error, skip=1)}", TODO) from error
    missing = missing_field(to_plain(found), plain)
    if missing:
        raise InputError(f"{where}: {missing} is missing", TODO)
    flaw = first_flaw(found)
    if flaw:
        raise InputError(f"{where}: {flaw}", TODO)
    return found


TODO = "it was changed or written by another version; verify again"


def jsonable(value: Any) -> Any:
    """JSON has no NaN, no infinity and no half of a surrogate pair: the numbers become null, the halves their escapes."""
    if isinstance(value, Mapping):
        return {jsonable(key): jsonable(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return None if isinstance(value, float) and not math.isfinite(value) else value


def first_problem(error: ValidationError, skip: int = 0) -> str:
    """`results[0].layers[2].values: input should be a valid integer`"""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where, said = json_path(problem["loc"][skip:]), problem["msg"]
    if problem["type"] in ("missing", "missing_argument"):
        return f"{where} is missing"
    if problem["type"] == "unexpected_keyword_argument":
        return f"{where} is unknown"
    return f"{where or 'the whole'}: {said[0].lower()}{said[1:]}"


def missing_field(whole: Any, given: Any, at: tuple[int | str, ...] = ()) -> str:
    """The path of the first field of `whole` that `given`, of the same structure, leaves to its default."""
    if isinstance(whole, Mapping):
        for key, value in whole.items():
            here = (*at, key)
            found = missing_field(value, given[key], here) if key in given else json_path(here)
            if found:
                return found
    elif isinstance(whole, list):
        for number, (value, other) in enumerate(zip(whole, given, strict=True)):
            found = missing_field(value, other, (*at, number))
            if found:
                return found
    return ""


@cache
def _adapter() -> TypeAdapter[tuple[Verification]]:
    from pydantic import TypeAdapter

    return TypeAdapter(tuple[Verification], config=STRICT)
