"""Variational autoencoders and generative adversarial networks as games of pure functions."""

import sys

__version__ = "0.1.0"

if sys.argv[:1] == ["-m"]:  # a command is about to be imported: a signal ends it in a line
    from latentgen import signals

    signals.install()
