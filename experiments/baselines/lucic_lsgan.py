"""LSGAN on Fashion-MNIST as Lucic et al. 2018 have it by default: `experiments/gan.py:lsgan`.

Their FID is of the best of 100 draws of hyperparameters (experiments/sweeps/lucic.py); this is one
setting, so that the two numbers cannot be held against each other.
"""

from experiments.baselines._lucic import baseline

BASELINE = baseline("lsgan", "LSGAN", 30.7, 2.2, minutes=15)
