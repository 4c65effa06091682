"""Arguments and results of measures, and iteration over the images of a split."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key
from tqdm import tqdm

from latentgen.core.keys import named_key, run_key
from latentgen.core.types import Batch, PyTree
from latentgen.data.dataset import Examples
from latentgen.data.pipeline import iterate_split
from latentgen.training.pictures import Image
from latentgen.training.setup import Run
from latentgen.training.validation import estimate


class Options(NamedTuple):
    """The user's options for all measures.

    images: use the first `images` of the split; None: the measure's default
    k: number of importance samples of each image
    chains, temperatures, leapfrogs: parameters of annealing
    observation_std: std of a likelihood N(x; decoded code, std^2), instead of the method's own
    samples: number of synthetic examples; None: the measure's default
    features: name of the features, see `features.extractor`; None: the data set's default
    inception_weights: file with the weights of the features 'inception'
    jackknife: number of groups of examples for standard errors; 0: no standard errors
    subsets, subset_size: subsets over which the kernel distance is averaged as well; 0: none
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

    memory: cache of values that several measures use, by name
    keep: whether to cache features for other measures; else they are computed by blocks
    """

    run: Run
    step: int
    state: PyTree
    split: str
    memory: dict[Any, Any]
    keep: bool = True

    @property
    def examples(self) -> Examples:
        """Examples of the whole split."""
        return self.run.dataset.splits[self.split]


class Result(NamedTuple):
    """The result of a measure.

    values: values by name; a mean over images is an `Estimate`
    protocol: how they were measured; only values with the same protocol may be compared
    picture: an image that illustrates the values
    warning: a reason to doubt the values, in a line
    """

    values: dict[str, Any]
    protocol: dict[str, Any]
    picture: Image | None = None
    warning: str | None = None


class Measure(NamedTuple):
    """A measure.

    take: (subject, options) -> Result
    check: (subject, options) -> None; raises BadInput if `take` cannot be called
    """

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
        images: the default number of images; None: all.
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
    """Iterate over the first images of the split, with the same preprocessing noise each time."""
    examples = first(subject, options, images)
    size = min(at_once, len(examples.label))
    blocks = iterate_split(
        examples, subject.run.experiment.data.preprocess, size, evaluation_key(options)
    )
    return with_progress("batches", blocks, -(-len(examples.label) // size))


def first(subject: Subject, options: Options, images: int | None) -> Examples:
    """Return the first examples of the split: `options.images` of them, else `images`, else all."""
    return cut(subject.examples, options.images or images)


def cut(examples: Examples, images: int | None) -> Examples:
    """Return the first `images` of these examples; None: all."""
    return Examples(examples.x[:images], examples.label[:images])


def evaluation_key(options: Options) -> Key[Array, ""]:
    """Return the key for the noise of preprocessing and of a measure."""
    return named_key(run_key(options.seed), "evaluation")


def with_progress(what: str, items: Iterable[Any], total: int | None = None) -> Iterator[Any]:
    """Iterate over items, with a progress bar on a terminal."""
    return iter(tqdm(items, desc=what, total=total, disable=None, leave=False))


def mean_of(values: Float[np.ndarray, " n"] | Float[Array, " n"]) -> dict[str, float]:
    """Return the mean over images, its standard error, and their number."""
    return estimate(np.asarray(values))._asdict()
