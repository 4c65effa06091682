"""Synthetic examples beside real ones: distances of their features, and whether they mix.

Each value stands beside its floor, the same measure of training examples in place of synthetic
ones: what a perfect generator would get.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from latentgen import views
from latentgen.core.keys import run_key, stream
from latentgen.data.pipeline import passes
from latentgen.data.sources import Examples
from latentgen.errors import BadInput
from latentgen.features import Extractor, default, extractor
from latentgen.measures.subject import (
    Options,
    Result,
    Subject,
    cut,
    evaluation_key,
    first,
    told,
)
from latentgen.metrics.frechet import frechet_distance, moments
from latentgen.metrics.inception_score import inception_score, score_sums
from latentgen.metrics.kernel import kernel_distance
from latentgen.metrics.prdc import density_coverage, precision_recall

AT_ONCE = 500  # examples that go through a feature network at once
NEIGHBOURS_OF = 10_000  # examples a side at most, whose distances to all others are computed
K_PRECISION, K_DENSITY = 3, 5


def frechet(subject: Subject, options: Options) -> Result:
    """The Frechet distance of features, in double precision."""

    def distance(real: Array, other: Array) -> Array:
        return frechet_distance(moments(real), moments(other))

    return _beside(subject, options, "frechet_distance", distance, {})


def kernel(subject: Subject, options: Options) -> Result:
    """The unbiased kernel distance of features, over all pairs, in double precision."""
    how = {"kernel": "(x.y/d + 1)^3, all pairs"}
    return _beside(subject, options, "kernel_distance", kernel_distance, how)


def prdc(subject: Subject, options: Options) -> Result:
    """Precision and recall, density and coverage: quality and variety apart."""
    seen = views_of(subject, options, NEIGHBOURS_OF)
    values: dict[str, Any] = {}
    with jax.enable_x64(True):
        real = _double(seen["real"])
        for prefix, other in (("", seen["synthetic"]), ("floor_", seen["train"])):
            pair = real, _double(other)
            found = precision_recall(*pair, K_PRECISION)._asdict()
            found |= density_coverage(*pair, K_DENSITY)._asdict()
            values |= {f"{prefix}{name}": float(value) for name, value in found.items()}
    how = {"k_precision": K_PRECISION, "k_density": K_DENSITY}
    return Result(values, protocol(subject, options, seen) | how)


def score(subject: Subject, options: Options) -> Result:
    """exp(mean KL(p(y|x) || p(y))) of the classifier's logits; the floor is training images'."""
    shown, values = shown_by(subject, options), {}
    seen = {which: logits_of(subject, options, shown, which) for which in ("synthetic", "train")}
    with jax.enable_x64(True):
        for name, which in (("inception_score", "synthetic"), ("floor", "train")):
            values[name] = float(inception_score(score_sums(_double(seen[which][:, 0]))))
    return Result(values, protocol(subject, options, seen))


def check(subject: Subject, options: Options) -> None:
    """Raises BadInput where the method has no samples or the features do not fit."""
    if subject.run.method.sample is None:
        raise BadInput("this method draws no samples, which this needs.")
    shown_by(subject, options)


def check_classes(subject: Subject, options: Options) -> None:
    """The same, for what needs one class of each image."""
    check(subject, options)
    shown = shown_by(subject, options)
    if shown.logits is None or "planes" in shown.images:
        raise BadInput(
            f"--features={shown.name!r} tells no class of an image, which this needs; name a "
            "classifier, or inception."
        )


def shown_by(subject: Subject, options: Options) -> Extractor:
    """The features that the user names, else those that fit the data."""
    data = subject.run.dataset
    name = options.features or default(data.name)
    key = "extractor", name
    if key not in subject.memory:
        subject.memory[key] = extractor(name, data.shape, options.inception_weights)
    return subject.memory[key]


def protocol(subject: Subject, options: Options, seen: dict[str, np.ndarray]) -> dict[str, Any]:
    """What values must agree in to be compared."""
    return {
        **shown_by(subject, options).stamp,
        **{which: len(seen[which]) for which in ("real", "synthetic") if which in seen},
        "floor_of": f"{len(seen['train'])} training examples",
        "synthetic_are": "decoded codes of the prior",
    }


def views_of(subject: Subject, options: Options, most: int | None) -> dict[str, np.ndarray]:
    """Features of 'real' examples of the split, 'synthetic' ones, and 'train'ing ones.

    As many synthetic and training ones as real ones, unless the user says.
    """
    shown = shown_by(subject, options)
    found = {
        which: _features(subject, options, shown, which) for which in ("real", "synthetic", "train")
    }
    return {which: each[:most] for which, each in found.items()}


def synthetic(subject: Subject, options: Options, number: int) -> Shaped[np.ndarray, "n *shape"]:
    """Decoded codes of the prior in pixels of [0, 1], or points."""
    key = "synthetic", number
    if key not in subject.memory:
        run = subject.run
        codes = views.prior(
            run.method, subject.state, stream(run_key(options.seed), "sample"), number
        )
        x = views.decoded(run.method, subject.state, codes)
        pixels = jax.jit(run.experiment.data.preprocess.pixels)
        subject.memory[key] = np.concatenate(
            [np.asarray(pixels(x[i : i + AT_ONCE])) for i in range(0, number, AT_ONCE)]
        )
    return subject.memory[key]


def logits_of(
    subject: Subject, options: Options, shown: Extractor, which: str
) -> Float[np.ndarray, "n p c"]:
    """The classifier's logits of 'synthetic' or 'train'ing images."""
    assert shown.logits is not None
    return _through(subject, options, shown.logits, "logits", which)


def _features(
    subject: Subject, options: Options, shown: Extractor, which: str
) -> Float[np.ndarray, "n f"]:
    return _through(subject, options, shown.features, "features", which)


def _through(
    subject: Subject, options: Options, network: Callable[[Array], Array], name: str, which: str
) -> np.ndarray:
    """What the network makes of the examples, remembered for the next measure."""
    real = first(subject, options, None)
    number = options.samples or len(real.label)
    key = name, which, number
    if key not in subject.memory:
        blocks = told(f"{name} of {which}", _blocks(subject, options, which, real, number))
        found = [np.asarray(network(jnp.asarray(x)))[:valid] for x, valid in blocks]
        subject.memory[key] = np.concatenate(found)
        if not np.isfinite(subject.memory[key]).all():
            raise BadInput(f"the {name} of {which} examples are not finite: the run has diverged.")
    return subject.memory[key]


def _blocks(
    subject: Subject, options: Options, which: str, real: Examples, number: int
) -> Iterator[tuple[Shaped[Array | np.ndarray, "n *shape"], int]]:
    """Examples in pixels, in blocks of one size, and how many of each block count."""
    if which == "synthetic":
        x = synthetic(subject, options, number)
        size = min(AT_ONCE, number)
        for i in range(0, number, size):
            valid = min(size, number - i)
            yield np.resize(x[i : i + size], (size, *x.shape[1:])), valid
        return
    examples = real
    if which == "train":
        train = subject.run.dataset.splits["train"]
        examples = cut(train, min(number, len(train.label)))
    preprocess = subject.run.experiment.data.preprocess
    size = min(AT_ONCE, len(examples.label))
    pixels = jax.jit(preprocess.pixels)
    for batch, valid in passes(examples, preprocess, size, evaluation_key(options)):
        yield pixels(batch.x), valid


def _beside(
    subject: Subject,
    options: Options,
    name: str,
    distance: Callable[[Array, Array], Array],
    how: dict[str, Any],
) -> Result:
    """The distance of synthetic from real examples, and of training ones."""
    seen = views_of(subject, options, None)
    with jax.enable_x64(True):
        real = _double(seen["real"])
        values = {
            key: float(distance(real, _double(seen[which])))
            for key, which in ((name, "synthetic"), ("floor", "train"))
        }
    return Result(values, protocol(subject, options, seen) | how)


def _double(x: np.ndarray) -> Array:
    return jnp.asarray(x, jnp.float64)
