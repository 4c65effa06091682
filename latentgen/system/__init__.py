"""Operating system and devices: processes, signals, memory, compilation cache, plugins."""
