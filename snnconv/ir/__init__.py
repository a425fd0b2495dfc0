"""The spiking program: the canonical neuron, one time step of a network as a graph, its contract over time, and its file."""
