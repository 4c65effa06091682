"""Machinery of a run: its folder, checkpoints, log and pictures. Knows no method."""
