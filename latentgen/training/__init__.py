"""Machinery of a run: setup, the loop, hooks and pictures. Knows no method."""
