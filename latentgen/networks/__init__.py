"""Networks by name: each maker returns a `Net`; only this package knows flax."""

from collections.abc import Callable

from latentgen.core.types import Net
from latentgen.networks import biggan, conv, infogan, mlp, r3gan, resnet, sngan, stylegan2

ENCODERS: dict[str, Callable[..., Net]] = {
    "mlp": mlp.encoder,
    "twin": mlp.twin_encoder,
    "conv": conv.encoder,
    "resnet": resnet.encoder,
    "stylegan2": stylegan2.discriminator,
    "infogan": infogan.encoder,
    "r3gan": r3gan.discriminator,
    "sngan": sngan.discriminator,
    "biggan": biggan.discriminator,
}
DECODERS: dict[str, Callable[..., Net]] = {
    "mlp": mlp.decoder,
    "conv": conv.decoder,
    "resnet": resnet.decoder,
    "stylegan2": stylegan2.generator,
    "infogan": infogan.decoder,
    "r3gan": r3gan.generator,
    "sngan": sngan.generator,
    "biggan": biggan.generator,
}
MAPPINGS: dict[str, Callable[..., Net]] = {"stylegan2": stylegan2.mapping}
