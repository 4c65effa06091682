"""LPIPS between images and their reconstructions, beside its value between two real images."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from latentgen.core.errors import BadInput
from latentgen.core.keys import named_key
from latentgen.core.types import Batch, PyTree
from latentgen.data.pipeline import chosen
from latentgen.evaluation import views
from latentgen.evaluation.features import imagenet as features
from latentgen.evaluation.measures.subject import (
    Options,
    Result,
    Subject,
    evaluation_key,
    first,
    mean_of,
    with_progress,
)
from latentgen.metrics.lpips import lpips as distance
from latentgen.networks import imagenet, pretrained

AT_ONCE = 50  # images whose activations are in memory at once


def lpips(subject: Subject, options: Options) -> Result:
    """Compute LPIPS of each image and its reconstruction, and of each and another real image.

    The images are taken in random order; each is paired with the next one, the last with the first.
    """
    name, n = network(options), len(first(subject, options, None).label)
    loaded = pretrained.load(name)
    order = np.asarray(jax.random.permutation(named_key(evaluation_key(options), "pairs"), n))
    of, take = partial(_batches, subject, options), _distances(subject, name)
    found = [
        take(loaded.params, loaded.linear, subject.state, batch, other)[:, :valid]
        for (batch, valid), (other, _) in with_progress(
            "lpips", zip(of(order), of(np.roll(order, -1)), strict=True), -(-n // AT_ONCE)
        )
    ]
    reconstructed, another = np.concatenate(found, axis=1)
    values = {"lpips": mean_of(reconstructed), "another_lpips": float(another.mean(dtype=float))}
    protocol = {
        "images": n,
        "network": name,
        "network_sha256": loaded.sha256[:16],
        "images_are": features.images(name, subject.run.dataset.shape),
        "reconstructions_are": "decoded from the centre of q(z|x)",
    }
    return Result(values, protocol)


def network(options: Options) -> str:
    """Return the network whose activations are compared: `options.features`, else 'alexnet'."""
    return options.features if options.features in imagenet.NETWORKS else imagenet.ALEXNET.name


def _distances(subject: Subject, name: str) -> Callable[..., np.ndarray]:
    """Make (params, linear, state, batch, other batch) -> distances to both, of shape (2, n)."""
    run = subject.run
    pixels, reconstruct = run.experiment.data.preprocess.pixels, run.eval_fns.reconstruct
    assert reconstruct is not None

    @jax.jit
    def compare(
        params: PyTree, linear: Any, x: Array, other: Array, reconstruction: Array
    ) -> Float[Array, "2 n"]:
        layers = partial(imagenet.activations, imagenet.NETWORKS[name], params)
        of_x, *others = (layers(pixels(each)) for each in (x, reconstruction, other))
        return jnp.stack([distance(of_x, each, linear) for each in others])

    def take(
        params: PyTree, linear: Any, state: PyTree, batch: Batch, other: Batch
    ) -> Float[np.ndarray, "2 n"]:
        found = np.asarray(compare(params, linear, batch.x, other.x, reconstruct(state, batch)))
        if not np.isfinite(found).all():
            raise BadInput("the reconstructions are not finite: the run has diverged.")
        return found

    return take


def _batches(subject: Subject, options: Options, order: np.ndarray) -> Iterator[tuple[Batch, int]]:
    """Yield the examples in this order, in batches of one size, and the number of valid ones."""
    examples, preprocess = first(subject, options, None), subject.run.experiment.data.preprocess
    key: Key[Array, ""] = named_key(evaluation_key(options), "preprocess")
    size = min(AT_ONCE, len(order))
    for i in range(0, len(order), size):
        at = np.minimum(np.arange(i, i + size), len(order) - 1)
        batch = chosen(examples, order[at], preprocess, jax.random.fold_in(key, i))
        yield batch, min(size, len(order) - i)


def check(subject: Subject, options: Options) -> None:
    """Raise BadInput where nothing is reconstructed, or the network or its weights do not fit."""
    for name in ("encode", "decode"):
        views.probe(subject.run.method, name)
    shape = subject.run.dataset.shape
    if len(shape) != 3:
        raise BadInput("--metrics=lpips compares images; these are points.")
    features.images(network(options), shape)
    if len(first(subject, options, None).label) < 2:
        raise BadInput("--images=1 must be at least 2: each image is compared with another, too.")
    pretrained.load(network(options))
