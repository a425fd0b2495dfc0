"""User-given text made fit to show, and escaped where a format needs it."""

from __future__ import annotations

import re


def printable(text: str) -> str:
    """`text` with what cannot be seen as escapes, but for spaces and line breaks: control, bidirectional, surrogate."""
    lines = text.replace("\t", " ").split("\n")
    return "\n".join("".join(c if c.isprintable() else c.encode("unicode-escape").decode() for c in line) for line in lines)


def one_line(text: str) -> str:
    """`text`, printable, on one line."""
    return " ".join(printable(text).split())


_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&@$])")
_LINE_START = re.compile(r"^([-+]|\d+(?=[.)]))")


def markdown(text: str) -> str:
    """`text` as literal GitHub Markdown on one line, also in a table: no emphasis, link, mention, HTML or cell border."""
    escaped = _SPECIAL.sub(r"\\\1", one_line(text)).replace("://", ":\\//").replace("www.", "www\\.")
    return _LINE_START.sub(_unlisted, escaped)


def _unlisted(match: re.Match[str]) -> str:
    start = match[1]
    return f"\\{start}" if start in "-+" else f"{start}\\"


def markdown_code(text: str) -> str:
    """`text` as a code span for a table cell or a line without other pipes."""
    plain = one_line(text) or " "
    fence = "`" * (max((len(run) for run in re.findall("`+", plain)), default=0) + 1)
    padding = " " if plain.startswith("`") or plain.endswith("`") or len(fence) > 1 else ""
    return f"{fence}{padding}{plain}{padding}{fence}"


def markdown_cell(text: str) -> str:
    """`text` as a code span in a table cell, where a pipe must be escaped even in code."""
    return markdown_code(text).replace("|", "\\|")


def shortened(text: str, length: int) -> str:
    """`text` on one line with its middle left out where it is longer than `length`: names differ at their ends."""
    plain = one_line(text)
    if len(plain) <= length:
        return plain
    head = (length - 1) // 3
    return f"{plain[:head]}…{plain[len(plain) - (length - 1 - head) :]}"
