"""Networks by name: each maker returns a `Net`; only this package knows flax."""

from latentgen.networks import conv, mlp

ENCODERS = {"mlp": mlp.encoder, "conv": conv.encoder}
DECODERS = {"mlp": mlp.decoder, "conv": conv.decoder}
