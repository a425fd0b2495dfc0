"""The JSON Schema of the documents. `schema.json` beside this file is what the types say; a test holds the two together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from snnconv.results.layout import SCHEMA, ConversionDocument, FoldDocument, InspectionDocument, VerificationDocument

FILE = Path(__file__).with_name("schema.json")


def schema() -> dict[str, Any]:
    """The published JSON Schema (draft 2020-12) of every document that snnconv writes."""
    published: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return published


def generated_schema() -> dict[str, Any]:
    """The schema as the types have it, to be published as `schema.json`."""
    from pydantic import TypeAdapter
    from pydantic.json_schema import GenerateJsonSchema

    class Generator(GenerateJsonSchema):
        """Every field is always written, and every integer is a count or an index."""

        def field_is_required(self, field: Any, total: bool) -> bool:
            return True

        def default_schema(self, schema: Any) -> dict[str, Any]:
            return self.generate_inner(schema["schema"])

        def int_schema(self, schema: Any) -> dict[str, Any]:
            return {"type": "integer", "minimum": 0}

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    kinds = VerificationDocument | ConversionDocument | FoldDocument | InspectionDocument
    body = TypeAdapter(kinds).json_schema(schema_generator=Generator)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:snnconv:report:{SCHEMA}",
        "title": f"Documents of snnconv, schema {SCHEMA}",
        "description": "What snnconv prints with --json and writes with --report FILE.json; `command` says which one wrote it.",
        "oneOf": body["anyOf"],
        "$defs": body["$defs"],
    }


def publish(path: Path = FILE) -> None:
    """Write the generated schema: `python -c "from snnconv.results.schema import publish; publish()"`."""
    path.write_text(json.dumps(generated_schema(), indent=2) + "\n", encoding="utf-8")
