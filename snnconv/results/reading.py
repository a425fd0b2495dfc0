"""Reading results back, from `.json` documents and from plain values: to judge them again, to merge them, to go on with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnconv.errors import InputError, first_line
from snnconv.files import parse_json
from snnconv.files import read as read_file
from snnconv.results.document import jsonable, to_plain
from snnconv.results.flaws import first_flaw, json_path
from snnconv.results.schema import OPTIONAL, SCHEMA, STRICT, ConversionDocument, VerificationDocument
from snnconv.results.verification import Verification

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

_AGAIN = "copy the file again, or verify again"
_CHANGED = "it was changed or written by another version; verify again"
_KINDS = {"verify": VerificationDocument, "convert": ConversionDocument}


def read_results(path: Path) -> list[Verification]:
    """The verifications in a `.json` report of `verify` or `convert`.

    Raises `InputError` for a file that is no such document, of another schema, or with a field missing, unknown, of a wrong type
    or without sense; it names the first problem by its path in the document.
    """
    from pydantic import ValidationError

    text = read_file(path).data
    document = _object(path, text)
    kind = _kind(path, document)
    try:
        read = _document_adapter(kind).validate_json(text)
    except ValidationError as error:
        raise InputError(f"{path}: {_first_problem(error)}", _CHANGED) from error
    except InputError as error:
        raise InputError(f"{path}: {error.what}", error.todo) from error
    missing = _missing_field(jsonable(asdict(read)), document)
    if missing:
        raise InputError(f"{path}: {missing} is missing", _CHANGED)
    found = [_bare(result) for result in read.results]
    for number, verification in enumerate(found):
        flaw = first_flaw(verification, ("results", number))
        if flaw:
            raise InputError(f"{path}: {flaw}", _CHANGED)
    return found


def from_plain(plain: Mapping[str, Any], where: str = "verification") -> Verification:
    """The verification that `to_plain` gave. Raises `InputError` for a missing or unknown field, a wrong type, or
    a value that makes no sense."""
    from pydantic import ValidationError

    try:
        (found,) = _verification_adapter().validate_json(json.dumps([jsonable(plain)]))
    except ValidationError as error:
        raise InputError(f"{where}: {_first_problem(error, skip=1)}", _CHANGED) from error
    missing = _missing_field(to_plain(found), plain)
    if missing:
        raise InputError(f"{where}: {missing} is missing", _CHANGED)
    flaw = first_flaw(found)
    if flaw:
        raise InputError(f"{where}: {flaw}", _CHANGED)
    return found


def _object(path: Path, text: bytes) -> dict[str, Any]:
    try:
        document = parse_json(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON, or truncated: line {error.lineno}: {error.msg}", _AGAIN) from error
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: the whole: invalid JSON (half a character)", _AGAIN) from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON, or nested too deep ({first_line(error)})", _AGAIN) from error
    if not isinstance(document, dict) or "schema" not in document:
        raise InputError(f"{path}: no report of snnconv, schema is missing", "name a file that --report FILE.json wrote")
    return document


def _kind(path: Path, document: dict[str, Any]) -> Any:
    schema, command = document["schema"], document.get("command")
    if schema != SCHEMA or isinstance(schema, bool):
        said = json.dumps(schema)[:40]
        raise InputError(f"{path}: schema is {said}, not {SCHEMA}", "verify again with this version of snnconv")
    if not isinstance(command, str) or command not in _KINDS:
        raise InputError(f"{path}: command is {json.dumps(command)[:40]}", f"a report with results is of {' or '.join(_KINDS)}")
    return _KINDS[command]


def _bare(result: Verification) -> Verification:
    """The verification alone: its verdict is asked anew."""
    return Verification(**{field.name: getattr(result, field.name) for field in fields(Verification)})


def _first_problem(error: ValidationError, skip: int = 0) -> str:
    """`results[0].layers[2].values: input should be a valid integer`"""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where, said = json_path(problem["loc"][skip:]), problem["msg"]
    if problem["type"] in ("missing", "missing_argument"):
        return f"{where} is missing"
    if problem["type"] == "unexpected_keyword_argument":
        return f"{where} is unknown"
    return f"{where or 'the whole'}: {said[0].lower()}{said[1:]}"


def _missing_field(whole: Any, given: Any, at: tuple[int | str, ...] = ()) -> str:
    """The path of the first field of `whole` that `given`, of the same structure, leaves to its default."""
    if isinstance(whole, Mapping):
        for key, value in whole.items():
            here = (*at, key)
            if key in OPTIONAL and not value:
                continue
            found = _missing_field(value, given[key], here) if key in given else json_path(here)
            if found:
                return found
    elif isinstance(whole, list):
        for number, (value, other) in enumerate(zip(whole, given, strict=True)):
            found = _missing_field(value, other, (*at, number))
            if found:
                return found
    return ""


@cache
def _document_adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


@cache
def _verification_adapter() -> TypeAdapter[tuple[Verification]]:
    """Of a tuple of one: pydantic takes a configuration for a tuple, but not for somebody else's dataclass."""
    from pydantic import TypeAdapter

    return TypeAdapter(tuple[Verification], config=STRICT)
