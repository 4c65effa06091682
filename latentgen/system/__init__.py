"""Processes, signals, memory and devices of the machine; nothing of learning."""
