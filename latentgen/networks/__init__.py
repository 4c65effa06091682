"""Networks by name: each maker returns a `Net`; only this package knows flax."""

from collections.abc import Callable

from latentgen.core.types import Net
from latentgen.networks import biggan, conv, infogan, mlp, resnet, sngan

ENCODERS: dict[str, Callable[..., Net]] = {
    "mlp": mlp.encoder,
    "twin": mlp.twin_encoder,
    "conv": conv.encoder,
    "resnet": resnet.encoder,
    "infogan": infogan.encoder,
    "sngan": sngan.discriminator,
    "biggan": biggan.discriminator,
}
DECODERS: dict[str, Callable[..., Net]] = {
    "mlp": mlp.decoder,
    "conv": conv.decoder,
    "resnet": resnet.decoder,
    "infogan": infogan.decoder,
    "sngan": sngan.generator,
    "biggan": biggan.generator,
}
