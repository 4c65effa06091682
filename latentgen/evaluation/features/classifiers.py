"""Features of classifiers, those that come with latentgen and those that are exported."""

from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from latentgen import configs
from latentgen.core.errors import BadInput
from latentgen.core.types import Method, State
from latentgen.evaluation.features.base import Extractor, Pixels
from latentgen.networks import weights
from latentgen.storage import workdir
from latentgen.storage.checkpoint import by_path

SHIPPED = ("digits", "fashion_mnist", "sprites")
CARD, WEIGHTS = "classifier.json", "weights.npz"


def shipped(name: str, shape: tuple[int, ...], file: str | None) -> Extractor:
    """Load a classifier that comes with latentgen."""
    folder = Path(str(resources.files("latentgen.evaluation"))) / "classifiers" / name
    return extractor(name, folder, shape)


def extractor(name: str, folder: Path, shape: tuple[int, ...]) -> Extractor:
    """Load the classifier in a folder for images of this shape.

    Raises:
        BadInput: the folder does not hold a classifier, or the images do not fit it.
    """
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
    plain = config | {"method": config["method"] | {"ema_decay": 0.0, "ema_images": 0.0}}
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
