"""Reading reports back: the results of `.json` documents, to judge again or to merge."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnconv.errors import InputError, first_line
from snnconv.files import parse_json
from snnconv.files import read as read_file
from snnconv.results import Verification
from snnconv.results.flaws import first_flaw
from snnconv.results.layout import SCHEMA, ConversionDocument, VerificationDocument
from snnconv.results.plain import TODO, first_problem, jsonable, missing_field

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_AGAIN = "copy the file again, or verify again"
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
        read = _adapter(kind).validate_json(text)
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}", TODO) from error
    except InputError as error:
        raise InputError(f"{path}: {error.what}", error.todo) from error
    missing = missing_field(jsonable(asdict(read)), document)
    if missing:
        raise InputError(f"{path}: {missing} is missing", TODO)
    found = [_bare(result) for result in read.results]
    for number, verification in enumerate(found):
        flaw = first_flaw(verification, ("results", number))
        if flaw:
            raise InputError(f"{path}: {flaw}", TODO)
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


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
