"""What a measure is given and what it returns, and how it goes over the images of a split."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key
from tqdm import tqdm

from latentgen.core.keys import named_key, run_key
from latentgen.core.types import Batch, PyTree
from latentgen.data.pipeline import iterate_split
from latentgen.data.sources import Examples
from latentgen.training.pictures import Image
from latentgen.training.setup import Run
from latentgen.training.validation import estimate


class Options(NamedTuple):
    """The user's options for all measures.

    images: how many of the split, from its first; None: as many as the measure thinks fit
    k: importance samples of each image
    chains, temperatures, leapfrogs: of annealing
    observation_std: of N(x; decoded code, std^2), put in place of the method's own likelihood
    samples: how many synthetic examples; None: as many as the measure thinks fit
    features: what samples are compared by, see `features.extractor`; None: what fits the data
    inception_weights: the file that the features 'inception' need
    jackknife: groups of examples, left out in turn, from which standard errors come; 0: none
    subsets, subset_size: of examples, over which the kernel distance is averaged too; 0: none
    """

    seed: int = 0
    images: int | None = None
    k: int = 5_000
    chains: int = 16
    temperatures: int = 1_000
    leapfrogs: int = 10
    observation_std: float | None = None
    samples: int | None = None
    features: str | None = None
    inception_weights: str | None = None
    jackknife: int = 0
    subsets: int = 0
    subset_size: int = 1_000


class Subject(NamedTuple):
    """The subject of a measure: a run's state at a step, and a split of its data.

    memory: what one measure keeps for the next, by name
    keep: whether another measure wants the same features: else they go a block at a time
    """

    run: Run
    step: int
    state: PyTree
    split: str
    memory: dict[Any, Any]
    keep: bool = True

    @property
    def examples(self) -> Examples:
        """All of the split."""
        return self.run.dataset.splits[self.split]


class Result(NamedTuple):
    """The result of a measure.

    values: the figures, an `Estimate` where it is a mean over images
    protocol: how they were measured; two values may be compared where it is the same
    picture: an image that illustrates them
    warning: the reason to doubt the figures, in a line
    """

    values: dict[str, Any]
    protocol: dict[str, Any]
    picture: Image | None = None
    warning: str | None = None


class Measure(NamedTuple):
    """take: (subject, options) -> Result; check: the same, raises BadInput where it cannot."""

    take: Callable[[Subject, Options], Result]
    check: Callable[[Subject, Options], None]


def over_images(
    subject: Subject,
    options: Options,
    images: int | None,
    at_once: int,
    measure: Callable[..., PyTree],
) -> PyTree:
    """Apply `measure` (state, batch, key) to the first images of the split, in batches.

    Args:
        images: how many, where the user does not say; None: all.
        at_once: images in a batch.
    """
    parts, key = [], evaluation_key(options)
    for i, (batch, valid) in enumerate(batches(subject, options, images, at_once)):
        found = measure(subject.state, batch, jax.random.fold_in(key, i))
        parts.append(jax.tree.map(lambda a, valid=valid: np.asarray(a)[:valid], found))
    return jax.tree.map(lambda *a: np.concatenate(a), *parts)


def batches(
    subject: Subject, options: Options, images: int | None, at_once: int
) -> Iterator[tuple[Batch, int]]:
    """The first images of the split, always preprocessed alike, with progress on a terminal."""
    examples = first(subject, options, images)
    size = min(at_once, len(examples.label))
    passed = iterate_split(
        examples, subject.run.experiment.data.preprocess, size, evaluation_key(options)
    )
    return with_progress("batches", passed, -(-len(examples.label) // size))


def first(subject: Subject, options: Options, images: int | None) -> Examples:
    """The first of the split: as many as the user says, else `images`, else all."""
    return cut(subject.examples, options.images or images)


def cut(examples: Examples, images: int | None) -> Examples:
    """The first of these examples; None: all."""
    return Examples(examples.x[:images], examples.label[:images])


def evaluation_key(options: Options) -> Key[Array, ""]:
    """Return the key for the noise of preprocessing and of a measure."""
    return named_key(run_key(options.seed), "evaluation")


def with_progress(what: str, items: Iterable[Any], total: int | None = None) -> Iterator[Any]:
    """The items, with progress on a terminal."""
    return iter(tqdm(items, desc=what, total=total, disable=None, leave=False))


def mean_of(values: Float[np.ndarray, " n"] | Float[Array, " n"]) -> dict[str, float]:
    """Mean over images, its standard error, and how many they are."""
    return estimate(np.asarray(values))._asdict()
