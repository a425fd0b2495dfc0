"""snnconv: put a trained spiking neural network on an edge device.

checkpoint -> source -> capture -> fold -> lower -> export, and verify beside it.

Importing this loads none of its rooms. Those named in `__all__` are for users; what else is stable is said in `docs/versions.md`.
"""

__version__ = "0.2.0"

__all__ = ["__version__", "adapters", "errors", "nn", "registry", "testing"]
