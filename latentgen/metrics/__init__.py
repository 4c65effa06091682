"""Metrics: log-likelihoods, distances between real and synthetic examples, use of the codes."""
