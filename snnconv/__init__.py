"""snnconv: put a trained spiking neural network on an edge device.

checkpoint -> source -> capture -> fold -> lower -> export, and verify beside it.
"""

__version__ = "0.1.0"
