"""The networks of StyleGAN2: mapping, generator, discriminator."""

from latentgen.networks.stylegan2.discriminator import discriminator
from latentgen.networks.stylegan2.generator import generator, style_levels
from latentgen.networks.stylegan2.mapping import mapping, mean_style

__all__ = ["discriminator", "generator", "mapping", "mean_style", "style_levels"]
