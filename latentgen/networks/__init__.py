"""Networks by name: each maker returns a `Net`; only this package knows flax."""

from collections.abc import Callable

from latentgen.core.types import Net
from latentgen.networks import conv, infogan, mlp, r3gan, resnet

ENCODERS: dict[str, Callable[..., Net]] = {
    "mlp": mlp.encoder,
    "twin": mlp.twin_encoder,
    "conv": conv.encoder,
    "resnet": resnet.encoder,
    "infogan": infogan.encoder,
    "r3gan": r3gan.discriminator,
}
DECODERS: dict[str, Callable[..., Net]] = {
    "mlp": mlp.decoder,
    "conv": conv.decoder,
    "resnet": resnet.decoder,
    "infogan": infogan.decoder,
    "r3gan": r3gan.generator,
}
