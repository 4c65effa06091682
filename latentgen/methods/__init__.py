"""Methods, one per file: each combines networks, distributions and objectives into phases."""
