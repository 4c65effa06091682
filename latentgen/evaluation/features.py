"""Features by which images are compared: pixels, a small classifier, the Inception network.

Distances between sets of images depend on the features, which must be reported with them. Only the
Inception network of 2015-12-05 gives the FID; the features of a classifier trained on the data give
a Frechet classifier distance.
"""

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from latentgen import configs
from latentgen.core.errors import BadInput
from latentgen.core.types import Method, State
from latentgen.data.stacked import PREFIX
from latentgen.networks import inception, weights
from latentgen.storage import workdir
from latentgen.storage.checkpoint import by_path

SHIPPED = ("digits", "fashion_mnist")
CARD, WEIGHTS = "classifier.json", "weights.npz"

Pixels = Float[Array, "n h w c"]


class Extractor(NamedTuple):
    """Features by a name that identifies them.

    sha256: SHA-256 of the weights; None for pixels
    images: description of the preprocessing of an image
    features: pixels in [0, 1], or points -> (n, f)
    logits: pixels -> (n, planes, classes); None if it has no classes
    """

    name: str
    sha256: str | None
    images: str
    features: Callable[[Float[Array, "n *shape"]], Float[Array, "n f"]]
    logits: Callable[[Pixels], Float[Array, "n p classes"]] | None

    @property
    def stamp(self) -> dict[str, str | None]:
        """The entries that identify the features in a result."""
        return {
            "features": self.name,
            "features_sha256": self.sha256 and self.sha256[:16],
            "images_are": self.images,
        }


def default(data: str) -> str:
    """Return the default features of a data set: its classifier if one is shipped, else pixels."""
    plain = data.removeprefix(PREFIX)
    return plain if plain in SHIPPED else "pixels"


def extractor(name: str, shape: tuple[int, ...], inception_weights: str | None) -> Extractor:
    """Load the features of this name for examples of this shape.

    Args:
        name: 'pixels', 'inception', a shipped classifier, or the folder of an exported one.
        inception_weights: file with the weights of 'inception'.

    Raises:
        BadInput: the name is unknown, its file is missing, or the images do not fit.
    """
    if name == "pixels":
        return Extractor(name, None, "as they are", lambda x: x.reshape(len(x), -1), None)
    if len(shape) != 3:
        raise BadInput(f"--features={name!r} must be 'pixels' for points.")
    if name == "inception":
        return _inception(inception_weights)
    folder = Path(str(resources.files("latentgen.evaluation"))) / "classifiers" / name
    if name not in SHIPPED:
        folder = Path(name)
    if not (folder / CARD).is_file():
        raise BadInput(
            f"--features={name!r} is unknown. Valid: pixels, inception, {', '.join(SHIPPED)}, or "
            "the folder of a classifier that latentgen.export wrote."
        )
    return _classifier(name, folder, shape)


def _inception(file: str | None) -> Extractor:
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


def _classifier(name: str, folder: Path, shape: tuple[int, ...]) -> Extractor:
    try:
        card = workdir.read_json(folder / CARD)
        height, width, channels = map(int, card["shape"])
        method = classifier(card["config"], (height, width, channels))
    except BadInput:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{str(folder / CARD)!r} is no classifier's: {error!r}.") from None
    state, sha256 = load(method, folder / WEIGHTS)
    if shape[0] < height or shape[1] < width or shape[2] % channels:
        expected, found = ("x".join(map(str, s)) for s in (card["shape"], shape))
        raise BadInput(f"--features={name!r} sees images of {expected}; these are of {found}.")
    planes = shape[2] // channels
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    changes = [] if shape[:2] == (height, width) else [f"cut to {height}x{width} around the middle"]
    changes += [] if planes == 1 else [f"{planes} planes, each alone"]

    def single_planes(x: Pixels) -> Float[Array, "m p q k"]:
        x = x[:, top : top + height, left : left + width]
        return jnp.moveaxis(x.reshape(*x.shape[:3], planes, channels), 3, 1).reshape(
            -1, height, width, channels
        )

    @jax.jit
    def features(x: Pixels) -> Float[Array, "n f"]:
        return method.probes["features"](state, single_planes(x)).reshape(len(x), -1)

    @jax.jit
    def logits(x: Pixels) -> Float[Array, "n p classes"]:
        return method.probes["classify"](state, single_planes(x)).reshape(len(x), planes, -1)

    return Extractor(name, sha256, ", ".join(changes) or "as they are", features, logits)


def classifier(config: dict[str, Any], shape: tuple[int, ...]) -> Method:
    """Make the classifier of a config, without a moving average of its weights.

    Raises:
        BadInput: the config is of another method, or its inputs are not pixels in [0, 1].
    """
    plain = config | {"method": config["method"] | {"ema_decay": 0.0}}
    if plain["method"]["name"] != "classifier" or plain["data"]["preprocess"] != "unit":
        raise BadInput("features come of a classifier with config.data.preprocess='unit'.")
    return configs.experiment(plain).plan.wire(shape)


def save(state: State, file: Path) -> None:
    """Write a classifier's weights in half precision."""
    flat = by_path({"params": state.params, "stats": state.stats})
    workdir.write_bytes(file, weights.packed(flat, "float16"))


def load(method: Method, file: Path) -> tuple[State, str]:
    """Load a classifier's state without its optimizer; return it and the SHA-256 of its weights.

    Raises:
        BadInput: the file is damaged, or the weights do not fit the method.
    """
    flat, sha256 = weights.load(file)
    like = jax.eval_shape(method.init, jax.random.key(0))
    tree = {"params": like.params, "stats": like.stats}
    expected = {path: leaf.shape for path, leaf in by_path(tree).items()}
    if expected != {path: value.shape for path, value in flat.items()}:
        raise BadInput(f"weights={str(file)!r} do not fit the classifier beside them.")
    leaves = [flat[path] for path in by_path(tree)]
    filled = jax.tree.unflatten(jax.tree.structure(tree), leaves)
    return State(filled["params"], filled["stats"], ()), sha256
