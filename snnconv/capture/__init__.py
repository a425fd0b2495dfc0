"""Capture: from a module of one time step to a `SpikingProgram`."""

from __future__ import annotations

from snnconv.capture.step import ANY_BATCH, Call, capture, is_settled

__all__ = ["ANY_BATCH", "Call", "capture", "is_settled"]
