"""The words of which a user chooses one. Importing them loads nothing else, so that help and shells list them at once."""

from __future__ import annotations

INPUTS = ("static", "event")
"""What a network is shown: one image at every time step, or a frame for each. A sample has 0 or 1 dimensions beyond a frame."""

READOUTS = ("mean", "sum", "last", "max", "none")
"""How the outputs of all time steps become one; "none" keeps them."""

NORMS = ("layer", "group", "instance", "rms")
"""The norms that can be kept: those whose statistics are of each input, so that no constant takes their place."""

TIME_FORMS = ("sequence", "step")
"""What an artifact computes: all time steps of a sample, or one step with its state going in and out."""
