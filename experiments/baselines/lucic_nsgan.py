"""NS-GAN on Fashion-MNIST as Lucic et al. 2018 have it by default: `experiments/gan.py:nsgan`.

Their FID is of the best of 100 draws of hyperparameters (experiments/sweeps/lucic.py); this is one
setting, so that the two numbers cannot be held against each other.
"""

from experiments.baselines._lucic import baseline

BASELINE = baseline("nsgan", "NS-GAN", 26.5, 1.6, minutes=15)
