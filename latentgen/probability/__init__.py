"""Codes and images from probability distributions: densities, samples, divergences."""
