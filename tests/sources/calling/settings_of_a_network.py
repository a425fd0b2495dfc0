"""A module of settings, as networks import theirs."""

T = 6
other = 6
