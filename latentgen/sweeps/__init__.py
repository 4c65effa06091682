"""Sweeps: the list of runs that a description means, and the engines that train them."""
