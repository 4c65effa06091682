"""Features by which images are compared: pixels, a small classifier, a network of ImageNet.

Distances between sets of images depend on the features, which must be reported with them. Only the
Inception network of 2015-12-05 gives the FID; the features of a classifier trained on the data give
a Frechet classifier distance.

New features are a file with a `Maker` here, and a row of FEATURES.
"""

from functools import partial
from pathlib import Path

from latentgen.core.errors import BadInput
from latentgen.data.stacked import PREFIX
from latentgen.evaluation.features import classifiers, imagenet, inception, pixels, sprites
from latentgen.evaluation.features.base import Extractor, Maker
from latentgen.evaluation.features.classifiers import (
    CARD,
    SHIPPED,
    WEIGHTS,
    classifier,
    load,
    save,
)
from latentgen.networks import pretrained

__all__ = [
    "CARD",
    "FEATURES",
    "SHIPPED",
    "WEIGHTS",
    "Extractor",
    "Maker",
    "classifier",
    "default",
    "extractor",
    "load",
    "save",
]

FEATURES: dict[str, Maker] = {
    "pixels": pixels.extractor,
    "inception": inception.extractor,
    **{name: partial(classifiers.shipped, name) for name in SHIPPED},
    "sprites": sprites.extractor,  # in SHIPPED too; images of any size fit
    "vgg16": partial(imagenet.extractor, "vgg16"),
    "alexnet": partial(imagenet.extractor, "alexnet"),
}


def default(data: str, shape: tuple[int, ...], fast: bool = False) -> str:
    """Return the default features of a data set.

    A classifier of the data, or of the planes of a stacked set, if one is shipped; else those of
    `of_colours` for RGB images; else 'pixels'. 'pixels' takes the place of 'sprites' for images too
    small for it and for stacked sets, whose planes are no colours.

    Args:
        data: name of the data set.
        shape: of an example.
        fast: whether 'vgg16', which takes minutes for a training set on a CPU, is left out.
    """
    plain = data.removeprefix(PREFIX)
    if plain in SHIPPED:
        return plain
    if len(shape) != 3 or shape[2] != 3:
        return "pixels"
    fit = data == plain and min(shape[:2]) >= sprites.SMALLEST
    found = "sprites" if fast else of_colours()
    return found if found != "sprites" or fit else "pixels"


def of_colours() -> str:
    """Return the default features of RGB images that no shipped classifier knows.

    'vgg16' where its weights are installed; else 'sprites'.
    """
    return "vgg16" if pretrained.installed() else "sprites"


def extractor(name: str, shape: tuple[int, ...], inception_weights: str | None) -> Extractor:
    """Load the features of this name for examples of this shape.

    Args:
        name: a key of FEATURES, or the folder of an exported classifier.
        shape: of an example.
        inception_weights: file with the weights of 'inception'.

    Raises:
        BadInput: the name is unknown, its file is missing, or the images do not fit.
    """
    if name != "pixels" and len(shape) != 3:
        raise BadInput(f"--features={name!r} must be 'pixels' for points.")
    if name in FEATURES:
        return FEATURES[name](shape, inception_weights)
    if not (Path(name) / CARD).is_file():
        raise BadInput(
            f"--features={name!r} is unknown. Valid: {', '.join(FEATURES)}, or "
            "the folder of a classifier that latentgen.export wrote."
        )
    return classifiers.extractor(name, Path(name), shape)
