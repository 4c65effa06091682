"""One file a method; each only wires networks, distributions and objectives into phases."""
