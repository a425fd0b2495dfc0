"""What stands against a layer's being a canonical neuron."""

from __future__ import annotations


class NotCanonical(Exception):
    """No canonical neuron computes what a layer does; its text is the one fact that shows it, to follow the layer's name."""
