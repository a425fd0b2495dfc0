"""`snnconv report schema`: the JSON Schema of saved results."""

from __future__ import annotations

from snnconv.cli.command import command


@command
def schema() -> int:
    """Print the JSON Schema of saved results."""
    from snnconv.cli import render
    from snnconv.results.schema import published_schema

    render.print_json(published_schema())
    return 0
