"""A run's folder: checkpoints, log, status, provenance."""
