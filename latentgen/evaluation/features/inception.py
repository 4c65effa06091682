"""Features of the Inception network, under which the Frechet distance is the FID."""

import jax

from latentgen.core.errors import BadInput
from latentgen.evaluation.features.base import Extractor
from latentgen.networks import inception, weights


def extractor(shape: tuple[int, ...], file: str | None) -> Extractor:
    """Load the network of 2015-12-05 from a file that latentgen.export wrote.

    Raises:
        BadInput: there is no file, or it does not hold the network's weights.
    """
    if file is None:
        raise BadInput(
            "--inception_weights is missing: 'inception' needs the weights of 2015-12-05, as a "
            "file that latentgen.export wrote."
        )
    loaded, sha256 = weights.load(file)
    params, run = inception.checked(loaded), jax.jit(inception.inception)
    return Extractor(
        "inception",
        sha256,
        "resized to 299x299 as TensorFlow 1 did",
        lambda x: run(params, x).pooled,
        lambda x: run(params, x).logits[:, None],
    )
