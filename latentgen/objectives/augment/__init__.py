"""Augmentations of what the discriminator sees, differentiable in x."""
