"""Synthetic examples beside real ones: distances of their features, and whether they mix.

Each value stands beside what real examples get in place of synthetic ones, what a perfect generator
would get: the floor of a distance, the reference of a value of which more is better. These are
examples that no side has.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from latentgen.core.errors import BadInput
from latentgen.core.keys import named_key, run_key
from latentgen.core.types import PyTree
from latentgen.data.pipeline import iterate_split
from latentgen.data.sources import SPLITS, Examples
from latentgen.evaluation import views
from latentgen.evaluation.features import Extractor, default, extractor
from latentgen.evaluation.measures.subject import (
    Options,
    Result,
    Subject,
    evaluation_key,
    first,
    with_progress,
)
from latentgen.metrics.frechet import frechet_distance, moments
from latentgen.metrics.frechet import merge as merge_moments
from latentgen.metrics.inception_score import inception_score, score_sums
from latentgen.metrics.inception_score import merge as merge_sums
from latentgen.metrics.jackknife import fold, groups_left_out, jackknife_error, summaries
from latentgen.metrics.kernel import kernel_distance, kernel_distance_of_subsets
from latentgen.metrics.prdc import prdc as four_values
from latentgen.metrics.prdc import several_radii

AT_ONCE = 500  # examples that go through a feature network at once
NEIGHBOURS_OF = 10_000  # examples a side at most, whose distances to all others are computed
K_PRECISION, K_DENSITY = 3, 5
MISSING = "none: every example of every split is on the real side"


class Least(NamedTuple):
    """The fewest examples of each side that a measure can do with."""

    real: int
    synthetic: int


FRECHET, SCORE = Least(2, 2), Least(1, 1)
PRDC = Least(K_DENSITY + 1, K_PRECISION + 1)


class Reference(NamedTuple):
    """The examples `first` .. `last` - 1 of a split, none of which is on the real side."""

    split: str
    first: int
    last: int

    @property
    def words(self) -> str:
        """The number of examples and their split, in words."""
        kind = "training" if self.split == "train" else self.split
        return f"{self.last - self.first} {kind} examples"


def frechet(subject: Subject, options: Options) -> Result:
    """The Frechet distance of features, in double precision; memory holds moments and a block."""
    groups = _groups(subject, options, FRECHET)
    sides = {
        which: _summarized(subject, options, which, groups) for which in _sides(subject, options)
    }
    with jax.enable_x64(True):
        take = lambda which: lambda keep: _frechet(sides["real"], sides[which], keep)  # noqa: E731
        values = _with_error("frechet_distance", take("synthetic"), groups)
        if "reference" in sides:
            values["floor"] = float(take("reference")(jnp.ones(groups + 1)))
    counted = protocol(subject, options, "floor_of", ("real", "synthetic"))
    size, least = sides["real"].mean.shape[-1], min(counted["real"], counted["synthetic"])
    warning = (
        f"frechet: {least} examples are fewer than the {size + 1} that a covariance of {size} "
        "features needs; the distance depends on their number more than on what they are."
        if least <= size
        else None
    )
    return Result(values, counted | _jackknife_words(groups), warning=warning)


def kernel(subject: Subject, options: Options) -> Result:
    """The unbiased kernel distance of features, over all pairs, in double precision."""
    groups, seen = _groups(subject, options, FRECHET), views_of(subject, options, None)
    how: dict[str, Any] = {"kernel": "(x.y/d + 1)^3, all pairs"}
    with jax.enable_x64(True):
        take = lambda real, other: jnp.stack([_kernel(real, other)])  # noqa: E731
        values = _of_pair(subject, options, ("kernel_distance",), take, seen, groups)
        if "reference" in seen:
            values["floor"] = float(_kernel(_double(seen["real"]), _double(seen["reference"])))
        if options.subsets:
            key = named_key(evaluation_key(options), "subsets")
            pair = _double(seen["real"]), _double(seen["synthetic"])
            found = np.asarray(_subsets(key, *pair, options.subsets, options.subset_size))
            values["subsets_mean"] = float(found.mean())
            values["subsets_standard_deviation"] = float(found.std())
            how |= {"subsets": options.subsets, "subset_size": options.subset_size}
    counted = protocol(subject, options, "floor_of", ("real", "synthetic"))
    return Result(values, counted | how | _jackknife_words(groups))


def prdc(subject: Subject, options: Options) -> Result:
    """Precision and recall, density and coverage: quality and variety apart."""
    groups, seen = _groups(subject, options, PRDC), views_of(subject, options, NEIGHBOURS_OF)
    names = ("precision", "recall", "density", "coverage")
    with jax.enable_x64(True):
        real = _double(seen["real"])
        own = jax.jit(several_radii, static_argnums=1)(real, (K_PRECISION, K_DENSITY))
        found = _four(real, _double(seen["synthetic"]), own)
        values = dict(zip(names, map(float, found), strict=True))
        if groups:
            take = lambda real, other: jnp.stack(_four(real, other, None))  # noqa: E731
            values |= _errors(subject, options, names, take, seen, groups)
        if len(seen.get("reference", ())) >= PRDC.synthetic:
            found = _four(real, _double(seen["reference"]), own)
            values |= {f"reference_{n}": float(x) for n, x in zip(names, found, strict=True)}
    counted = protocol(subject, options, "reference_of", ("real", "synthetic"))
    counted |= {which: len(seen[which]) for which in ("real", "synthetic")}
    how = {"k_precision": K_PRECISION, "k_density": K_DENSITY}
    return Result(values, counted | how | _jackknife_words(groups))


def score(subject: Subject, options: Options) -> Result:
    """exp(mean KL(p(y|x) || p(y))) of the classifier's logits; memory holds sums and a block."""
    groups = _groups(subject, options, SCORE)
    sides = [which for which in _sides(subject, options) if which != "real"]
    sums = {which: _summarized(subject, options, which, groups, logits=True) for which in sides}
    with jax.enable_x64(True):
        take = lambda keep: _score(sums["synthetic"], keep)  # noqa: E731
        values = _with_error("inception_score", take, groups)
        if "reference" in sums:
            found = _score(sums["reference"], jnp.ones(groups + 1))
            values["reference_inception_score"] = float(found)
    counted = protocol(subject, options, "reference_of", ("synthetic",))
    return Result(values, counted | _jackknife_words(groups))


@jax.jit
def _frechet(real: PyTree, other: PyTree, keep: Float[Array, " g"]) -> Float[Array, ""]:
    """The distance of the groups that are kept (1) and not left out (0)."""
    return frechet_distance(fold(merge_moments, real, keep), fold(merge_moments, other, keep))


@jax.jit
def _score(sums: PyTree, keep: Float[Array, " g"]) -> Float[Array, ""]:
    return inception_score(fold(merge_sums, sums, keep))


_kernel = jax.jit(kernel_distance)
_subsets = jax.jit(kernel_distance_of_subsets, static_argnums=(3, 4))


@jax.jit
def _four(real: Array, other: Array, own: Array | None) -> tuple[Array, ...]:
    return tuple(four_values(real, other, K_PRECISION, K_DENSITY, own=own))


def _groups(subject: Subject, options: Options, least: Least) -> int:
    """Return the number of jackknife groups; 0 if it is off or would leave too few examples."""
    groups, (real, other) = options.jackknife, _numbers(subject, options)
    left = all(
        n // groups > 0 and n - n // groups >= fewest
        for n, fewest in ((real, least.real), (other, least.synthetic))
    ) if groups > 1 else False  # fmt: skip
    return groups if left else 0


def _jackknife_words(groups: int) -> dict[str, Any]:
    return {"standard_errors": f"jackknife of {groups} groups"} if groups else {}


def _with_error(name: str, take: Callable[[Array], Array], groups: int) -> dict[str, float]:
    """A value of all groups, and its standard error from those without each in turn.

    Args:
        take: which of the groups, and the rest behind them, count (1) and do not (0) -> the value.
    """
    every = jnp.ones(groups + 1)
    values = {name: float(take(every))}
    if groups:
        left = [float(take(every.at[g].set(0))) for g in with_progress(name, range(groups))]
        values[f"{name}_standard_error"] = float(jackknife_error(jnp.asarray(left)))
    return values


def _of_pair(
    subject: Subject,
    options: Options,
    names: tuple[str, ...],
    take: Callable[[Array, Array], Array],
    seen: dict[str, np.ndarray],
    groups: int,
) -> dict[str, float]:
    """Values of the real and the synthetic examples, with standard errors."""
    found = take(_double(seen["real"]), _double(seen["synthetic"]))
    values = dict(zip(names, map(float, found), strict=True))
    return values | (_errors(subject, options, names, take, seen, groups) if groups else {})


def _errors(
    subject: Subject,
    options: Options,
    names: tuple[str, ...],
    take: Callable[[Array, Array], Array],
    seen: dict[str, np.ndarray],
    groups: int,
) -> dict[str, float]:
    """Standard errors by the jackknife: each group left out of both sides at once."""
    key = named_key(evaluation_key(options), "jackknife")
    left = [
        groups_left_out(named_key(key, which), len(seen[which]), groups)
        for which in ("real", "synthetic")
    ]
    found = [
        take(_double(seen["real"][real]), _double(seen["synthetic"][other]))
        for real, other in with_progress("jackknife", list(zip(*left, strict=True)))
    ]
    errors = map(float, jackknife_error(jnp.stack(found)))
    return {f"{name}_standard_error": error for name, error in zip(names, errors, strict=True)}


def _summarized(
    subject: Subject, options: Options, which: str, groups: int, logits: bool = False
) -> PyTree:
    """Moments of features, or sums of scores of logits, of each group and of the rest behind them.

    Examples are dealt to groups at random, a block at a time.
    """
    blocks = logit_blocks if logits else feature_blocks
    make, merge = (score_sums, merge_sums) if logits else (moments, merge_moments)
    add = jax.jit(jax.vmap(merge))
    key, total = named_key(named_key(evaluation_key(options), "jackknife"), which), None
    for i, block in enumerate(blocks(subject, options, which)):
        with jax.enable_x64(True):  # what makes the examples stays as it is
            x = _double(block[:, 0] if logits else block)
            found = _summaries(make, x, jax.random.fold_in(key, i), groups)
            total = found if total is None else add(total, found)
    return total


_summaries = partial(jax.jit, static_argnums=(0, 3))(summaries)


def check(subject: Subject, options: Options, least: Least = SCORE) -> None:
    """Raise BadInput where there are no samples or too few, or the features do not fit."""
    if subject.run.method.sample is None:
        raise BadInput("this method draws no samples, which this needs.")
    shown_by(subject, options)
    real, other = _numbers(subject, options)
    if real < least.real:
        named = f"--split={subject.split!r} has {real} examples; they"
        if options.images is not None and options.images < len(subject.examples.label):
            named = f"--images={options.images}"
        raise BadInput(f"{named} must be at least {least.real} for this measure.")
    if other < least.synthetic:
        raise BadInput(f"--samples={other} must be at least {least.synthetic} for this measure.")


def check_moments(subject: Subject, options: Options) -> None:
    """The same, for what needs variances."""
    check(subject, options, FRECHET)


def check_kernel(subject: Subject, options: Options) -> None:
    """The same, and the subsets."""
    check(subject, options, FRECHET)
    most = min(_numbers(subject, options))
    if options.subsets and options.subset_size > most:
        raise BadInput(
            f"--subset_size={options.subset_size} must be at most {most}, the examples of a side; "
            "--images and --samples say how many those are."
        )


def check_neighbours(subject: Subject, options: Options) -> None:
    """The same, for what needs neighbours."""
    check(subject, options, PRDC)


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


def protocol(
    subject: Subject, options: Options, reference: str, sides: tuple[str, ...]
) -> dict[str, Any]:
    """Return the protocol in which values must agree to be compared.

    Args:
        reference: the protocol's key for the examples that stand in for synthetic ones.
        sides: those whose numbers of examples are part of the protocol.
    """
    found = reference_of(subject, options)
    number = dict(zip(("real", "synthetic"), _numbers(subject, options), strict=True))
    return {
        **shown_by(subject, options).stamp,
        **{which: number[which] for which in sides},
        reference: found.words if found else MISSING,
        "synthetic_are": "decoded codes of the prior",
    }


def reference_of(subject: Subject, options: Options) -> Reference | None:
    """As many examples as synthetic ones that are not on the real side; None where all are.

    Training examples where there are enough of them, else those of another split, else of the
    split that has most left.
    """
    real, wanted = _numbers(subject, options)
    left = []
    for split in SPLITS:
        if split in subject.run.dataset.splits:
            start = real if split == subject.split else 0
            size = len(subject.run.dataset.splits[split].label)
            left.append(Reference(split, start, min(size, start + wanted)))
    most = max(left, key=lambda each: each.last - each.first)  # the first of several
    return most if most.last > most.first else None


def _sides(subject: Subject, options: Options) -> tuple[str, ...]:
    reference = reference_of(subject, options)
    enough = reference is not None and reference.last - reference.first >= FRECHET.synthetic
    return ("real", "synthetic", *(("reference",) if enough else ()))


def _numbers(subject: Subject, options: Options) -> tuple[int, int]:
    """Return the numbers of real and synthetic examples: equal, unless the user sets the latter."""
    real = len(first(subject, options, None).label)
    return real, options.samples or real


def views_of(subject: Subject, options: Options, most: int | None) -> dict[str, np.ndarray]:
    """Features of 'real' examples of the split, 'synthetic' ones, and those of the 'reference'."""
    return {
        which: np.concatenate(list(feature_blocks(subject, options, which)))[:most]
        for which in _sides(subject, options)
    }


def synthetic(subject: Subject, options: Options, number: int) -> Shaped[np.ndarray, "n *shape"]:
    """Decoded codes of the prior in pixels of [0, 1], or points."""
    key = "synthetic", number
    if key not in subject.memory:
        blocks = _synthetic_blocks(subject, options, number)
        subject.memory[key] = np.concatenate([np.asarray(x)[:valid] for x, valid in blocks])
    return subject.memory[key]


def _synthetic_blocks(
    subject: Subject, options: Options, number: int
) -> Iterator[tuple[Shaped[Array, "b *shape"], int]]:
    """The same, in blocks of one size, and how many of each block count."""
    run, key = subject.run, named_key(run_key(options.seed), "sample")
    codes = views.prior(run.method, subject.state, key, number)
    pixels, size = jax.jit(run.experiment.data.preprocess.pixels), min(AT_ONCE, number)
    codes = jnp.pad(codes, ((0, -number % size), (0, 0)))  # one shape, one compilation
    for i in range(0, number, size):
        x = views.decoded(run.method, subject.state, codes[i : i + size])
        yield pixels(jnp.asarray(x)), min(size, number - i)


def logits_of(subject: Subject, options: Options, which: str) -> Float[np.ndarray, "n p c"]:
    """The classifier's logits of 'synthetic' or 'real' images."""
    return np.concatenate(list(logit_blocks(subject, options, which)))


def logit_blocks(
    subject: Subject, options: Options, which: str
) -> Iterator[Float[np.ndarray, "b p c"]]:
    """The same, a block at a time."""
    shown = shown_by(subject, options)
    assert shown.logits is not None
    return _through(subject, options, shown.logits, "logits", which)


def feature_blocks(
    subject: Subject, options: Options, which: str
) -> Iterator[Float[np.ndarray, "b f"]]:
    """Features of 'real', 'synthetic' or 'reference' examples, a block at a time."""
    return _through(subject, options, shown_by(subject, options).features, "features", which)


def _through(
    subject: Subject, options: Options, network: Callable[[Array], Array], name: str, which: str
) -> Iterator[np.ndarray]:
    """Yield the network's outputs in blocks; keep them in memory if another measure needs them."""
    real, wanted = _numbers(subject, options)
    key = (name, which, wanted) if which == "synthetic" else (name, which, wanted, real)
    if key in subject.memory:
        known = subject.memory[key]
        yield from (known[i : i + AT_ONCE] for i in range(0, len(known), AT_ONCE))
        return
    parts = []
    for x, valid in with_progress(f"{name} of {which}", _blocks(subject, options, which)):
        found = np.asarray(network(jnp.asarray(x)))[:valid]
        if not np.isfinite(found).all():
            raise BadInput(f"the {name} of {which} examples are not finite: the run has diverged.")
        if subject.keep:
            parts.append(found)
        yield found
    if subject.keep:
        subject.memory[key] = np.concatenate(parts)


def _blocks(
    subject: Subject, options: Options, which: str
) -> Iterator[tuple[Shaped[Array | np.ndarray, "b *shape"], int]]:
    """Examples in pixels, in blocks of one size, and how many of each block count."""
    number = _numbers(subject, options)[1]
    if which == "synthetic" and not subject.keep and (which, number) not in subject.memory:
        yield from _synthetic_blocks(subject, options, number)
        return
    if which == "synthetic":
        x, size = synthetic(subject, options, number), min(AT_ONCE, number)
        for i in range(0, number, size):
            valid = min(size, number - i)
            yield np.resize(x[i : i + size], (size, *x.shape[1:])), valid
        return
    examples = first(subject, options, None)
    if which == "reference":
        split, start, stop = reference_of(subject, options) or ("train", 0, 0)
        whole = subject.run.dataset.splits[split]
        examples = Examples(whole.x[start:stop], whole.label[start:stop])
    yield from pixel_blocks(subject, options, examples)


def pixel_blocks(
    subject: Subject, options: Options, examples: Examples
) -> Iterator[tuple[Shaped[Array, "b *shape"], int]]:
    """Examples of the data in pixels of [0, 1], or points, in blocks of one size."""
    preprocess = subject.run.experiment.data.preprocess
    pixels, size = jax.jit(preprocess.pixels), min(AT_ONCE, len(examples.label))
    for batch, valid in iterate_split(examples, preprocess, size, evaluation_key(options)):
        yield pixels(batch.x), valid


def _double(x: np.ndarray) -> Array:
    return jnp.asarray(x, jnp.float64)
