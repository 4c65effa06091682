"""Variational autoencoders and generative adversarial networks as games of pure functions."""

__version__ = "0.1.0"
