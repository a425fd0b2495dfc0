"""Figures of the HTML report, drawn by matplotlib as inline SVG in the colours of the page, one kind per file."""
