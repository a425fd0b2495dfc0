"""What stands against a layer's being a canonical neuron."""

from __future__ import annotations

DEPENDENT = "lets its neurons depend on each other"


class NotCanonical(Exception):
    """No canonical neuron computes what a layer does; its text is the one fact that shows it, to follow the layer's name."""


class NotCalledSo(NotCanonical):
    """A layer cannot be called as was tried: nothing is known of it, if it can be called in another way."""
