"""Tests; `python -m tests.studies.NAME` runs a study of faults."""
