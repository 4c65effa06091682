"""A GAN on the digits with the loss, the prior and the network of my_idea.py.

latentgen run config.py                     # in this folder, or with it on PYTHONPATH
latentgen evaluate --workdir runs/config --metrics=contrast
"""

from latentgen.configs import recipes


def get_config():
    """The config of `latentgen:gan` with rows of my_idea.py."""
    config = recipes.load("latentgen:gan")
    config.plugins = ("my_idea",)
    config.steps = 2_000
    config.method.loss = "opposite_labels"
    config.method.prior = "sphere"
    config.generator.network = "fourier"
    return config
