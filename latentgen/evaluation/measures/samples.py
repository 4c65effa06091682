"""Measures of synthetic examples against real ones, by their features.

Each value is reported with the value that other real examples get in place of the synthetic ones,
as a perfect generator would: the floor of a distance, the reference of a score. These examples are
on neither side of the comparison.
"""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Shaped

from latentgen.core.errors import BadInput
from latentgen.core.keys import named_key, run_key
from latentgen.core.types import PyTree
from latentgen.data.dataset import SPLITS, Examples
from latentgen.data.pipeline import iterate_split
from latentgen.data.stacked import PREFIX
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
from latentgen.metrics.frechet import frechet_distance, frechet_distance_of_examples, moments
from latentgen.metrics.frechet import merge as merge_moments
from latentgen.metrics.inception_score import inception_score, score_sums
from latentgen.metrics.inception_score import merge as merge_sums
from latentgen.metrics.jackknife import (
    fold,
    group_numbers,
    groups_left_out,
    jackknife_error,
    summaries,
)
from latentgen.metrics.kernel import kernel_distance, kernel_distance_of_subsets
from latentgen.metrics.prdc import prdc as four_values
from latentgen.metrics.prdc import several_radii

AT_ONCE = 500  # examples that go through a feature network at once
NEIGHBOURS_OF = 10_000  # maximum examples of each side in `prdc`, which computes all distances
K_PRECISION, K_DENSITY = 3, 5
MISSING = "none: every example of every split is on the real side"


class Least(NamedTuple):
    """Minimum number of examples of each side for a measure."""

    real: int
    synthetic: int


FRECHET, SCORE = Least(2, 2), Least(1, 1)
PRDC = Least(K_DENSITY + 1, K_PRECISION + 1)


class Reference(NamedTuple):
    """Examples `first` .. `last` - 1 of a split, none of which is on the real side."""

    split: str
    first: int
    last: int

    @property
    def words(self) -> str:
        """Describe the number of examples and their split."""
        kind = "training" if self.split == "train" else self.split
        return f"{self.last - self.first} {kind} examples"


class Dealt(NamedTuple):
    """Features of all examples of a side, and the jackknife group of each."""

    x: Float[Array, "n f"]
    group: Int[Array, " n"]


def frechet(subject: Subject, options: Options) -> Result:
    """Compute the Frechet distance of features, in double precision.

    Features are summed up a block at a time, unless there are no more examples than features.
    """
    groups = _groups(subject, options, FRECHET)
    sides = {
        which: _for_frechet(subject, options, which, groups) for which in _sides(subject, options)
    }
    with jax.enable_x64(True):
        compute = lambda which: lambda keep: _frechet(sides["real"], sides[which], keep)  # noqa: E731
        values = _with_error("frechet_distance", compute("synthetic"), groups)
        if "reference" in sides:
            values["floor"] = float(compute("reference")(jnp.ones(groups + 1)))
    counted = protocol(subject, options, "floor_of", ("real", "synthetic"))
    real = sides["real"]
    size = (real.x if isinstance(real, Dealt) else real.mean).shape[-1]
    least = min(counted["real"], counted["synthetic"])
    warning = (
        f"frechet: {least} examples are fewer than the {size + 1} that a covariance of {size} "
        "features needs; the distance depends on their number more than on what they are."
        if least <= size
        else None
    )
    return Result(values, counted | _jackknife_words(groups), warning=warning)


def kernel(subject: Subject, options: Options) -> Result:
    """Compute the unbiased kernel distance of features, over all pairs, in double precision."""
    groups, features = _groups(subject, options, FRECHET), views_of(subject, options, None)
    how: dict[str, Any] = {"kernel": "(x.y/d + 1)^3, all pairs"}
    with jax.enable_x64(True):
        compute = lambda real, other: jnp.stack([_kernel(real, other)])  # noqa: E731
        values = _of_pair(subject, options, ("kernel_distance",), compute, features, groups)
        if "reference" in features:
            values["floor"] = float(
                _kernel(_double(features["real"]), _double(features["reference"]))
            )
        if options.subsets:
            key = named_key(evaluation_key(options), "subsets")
            pair = _double(features["real"]), _double(features["synthetic"])
            found = np.asarray(_subsets(key, *pair, options.subsets, options.subset_size))
            values["subsets_mean"] = float(found.mean())
            values["subsets_standard_deviation"] = float(found.std())
            how |= {"subsets": options.subsets, "subset_size": options.subset_size}
    counted = protocol(subject, options, "floor_of", ("real", "synthetic"))
    return Result(values, counted | how | _jackknife_words(groups))


def prdc(subject: Subject, options: Options) -> Result:
    """Compute precision, recall, density and coverage, which separate quality from variety."""
    groups, features = _groups(subject, options, PRDC), views_of(subject, options, NEIGHBOURS_OF)
    names = ("precision", "recall", "density", "coverage")
    with jax.enable_x64(True):
        real = _double(features["real"])
        own = jax.jit(several_radii, static_argnums=1)(real, (K_PRECISION, K_DENSITY))
        found = _prdc_values(real, _double(features["synthetic"]), own)
        values = dict(zip(names, map(float, found), strict=True))
        if groups:
            compute = lambda real, other: jnp.stack(_prdc_values(real, other, None))  # noqa: E731
            values |= _errors(subject, options, names, compute, features, groups)
        if len(features.get("reference", ())) >= PRDC.synthetic:
            found = _prdc_values(real, _double(features["reference"]), own)
            values |= {f"reference_{n}": float(x) for n, x in zip(names, found, strict=True)}
    counted = protocol(subject, options, "reference_of", ("real", "synthetic"))
    counted |= {which: len(features[which]) for which in ("real", "synthetic")}
    how = {"k_precision": K_PRECISION, "k_density": K_DENSITY}
    return Result(values, counted | how | _jackknife_words(groups))


def score(subject: Subject, options: Options) -> Result:
    """Compute exp(mean KL(p(y|x) || p(y))) of a classifier's logits, a block at a time."""
    groups = _groups(subject, options, SCORE)
    sides = [which for which in _sides(subject, options) if which != "real"]
    sums = {
        which: _summarized(
            options, which, groups, logit_blocks(subject, options, which), logits=True
        )
        for which in sides
    }
    with jax.enable_x64(True):
        compute = lambda keep: _score(sums["synthetic"], keep)  # noqa: E731
        values = _with_error("inception_score", compute, groups)
        if "reference" in sums:
            found = _score(sums["reference"], jnp.ones(groups + 1))
            values["reference_inception_score"] = float(found)
    counted = protocol(subject, options, "reference_of", ("synthetic",))
    return Result(values, counted | _jackknife_words(groups))


def _for_frechet(subject: Subject, options: Options, which: str, groups: int) -> PyTree:
    """Return `Dealt` if no side has more examples than features, else moments of each group."""
    blocks = feature_blocks(subject, options, which)
    head = next(blocks)
    blocks = itertools.chain([head], blocks)
    if max(_numbers(subject, options)) > head.shape[1]:
        return _summarized(options, which, groups, blocks)
    key, parts = _jackknife_key(options, which), list(blocks)
    with jax.enable_x64(True):  # as in `_summarized`, which deals in double precision
        dealt = [
            group_numbers(jax.random.fold_in(key, i), len(part), groups)
            for i, part in enumerate(parts)
        ]
        return Dealt(_double(np.concatenate(parts)), jnp.asarray(np.concatenate(dealt)))


@jax.jit
def _frechet(real: PyTree, other: PyTree, keep: Float[Array, " g"]) -> Float[Array, ""]:
    """Compute the distance of the groups with keep=1, without those with keep=0."""
    if isinstance(real, Dealt):
        return frechet_distance_of_examples(real.x, other.x, keep[real.group], keep[other.group])
    return frechet_distance(fold(merge_moments, real, keep), fold(merge_moments, other, keep))


@jax.jit
def _score(sums: PyTree, keep: Float[Array, " g"]) -> Float[Array, ""]:
    return inception_score(fold(merge_sums, sums, keep))


_kernel = jax.jit(kernel_distance)
_subsets = jax.jit(kernel_distance_of_subsets, static_argnums=(3, 4))


@jax.jit
def _prdc_values(real: Array, other: Array, own: Array | None) -> tuple[Array, ...]:
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


def _with_error(name: str, compute: Callable[[Array], Array], groups: int) -> dict[str, float]:
    """Compute a value of all groups, and its jackknife standard error over groups.

    Args:
        compute: weights of the groups and of the examples in none, 1 or 0 -> the value.
    """
    every = jnp.ones(groups + 1)
    values = {name: float(compute(every))}
    if groups:
        left = [float(compute(every.at[g].set(0))) for g in with_progress(name, range(groups))]
        values[f"{name}_standard_error"] = float(jackknife_error(jnp.asarray(left)))
    return values


def _of_pair(
    subject: Subject,
    options: Options,
    names: tuple[str, ...],
    compute: Callable[[Array, Array], Array],
    features: dict[str, np.ndarray],
    groups: int,
) -> dict[str, float]:
    """Compute values of the real and the synthetic examples, with standard errors."""
    found = compute(_double(features["real"]), _double(features["synthetic"]))
    values = dict(zip(names, map(float, found), strict=True))
    return values | (_errors(subject, options, names, compute, features, groups) if groups else {})


def _errors(
    subject: Subject,
    options: Options,
    names: tuple[str, ...],
    compute: Callable[[Array, Array], Array],
    features: dict[str, np.ndarray],
    groups: int,
) -> dict[str, float]:
    """Compute standard errors by the jackknife, which leaves a group out of both sides."""
    key = named_key(evaluation_key(options), "jackknife")
    left = [
        groups_left_out(named_key(key, which), len(features[which]), groups)
        for which in ("real", "synthetic")
    ]
    found = [
        compute(_double(features["real"][real]), _double(features["synthetic"][other]))
        for real, other in with_progress("jackknife", list(zip(*left, strict=True)))
    ]
    errors = map(float, jackknife_error(jnp.stack(found)))
    return {f"{name}_standard_error": error for name, error in zip(names, errors, strict=True)}


def _summarized(
    options: Options,
    which: str,
    groups: int,
    blocks: Iterator[np.ndarray],
    logits: bool = False,
) -> PyTree:
    """Compute moments of features, or sums for the score of logits, of each group.

    The last entry is of the examples that are in no group. Each block's examples are assigned to
    groups at random.
    """
    make, merge = (score_sums, merge_sums) if logits else (moments, merge_moments)
    add = jax.jit(jax.vmap(merge))
    key, total = _jackknife_key(options, which), None
    for i, block in enumerate(blocks):
        with jax.enable_x64(True):  # examples are computed in single precision
            x = _double(block[:, 0] if logits else block)
            found = _summaries(make, x, jax.random.fold_in(key, i), groups)
            total = found if total is None else add(total, found)
    return total


def _jackknife_key(options: Options, which: str) -> Key[Array, ""]:
    return named_key(named_key(evaluation_key(options), "jackknife"), which)


_summaries = partial(jax.jit, static_argnums=(0, 3))(summaries)


def check(subject: Subject, options: Options, least: Least = SCORE) -> None:
    """Raise BadInput where there are no samples or too few, or the features do not fit."""
    if subject.run.method.sample is None:
        raise BadInput("this method draws no samples, which this needs.")
    shown_by(subject, options)
    real, other = _numbers(subject, options)
    if real < least.real:
        flag = f"--split={subject.split!r} has {real} examples; they"
        if options.images is not None and options.images < len(subject.examples.label):
            flag = f"--images={options.images}"
        raise BadInput(f"{flag} must be at least {least.real} for this measure.")
    if other < least.synthetic:
        raise BadInput(f"--samples={other} must be at least {least.synthetic} for this measure.")


def check_moments(subject: Subject, options: Options) -> None:
    """Check as `check` does, for measures that need variances."""
    check(subject, options, FRECHET)


def check_kernel(subject: Subject, options: Options) -> None:
    """Check as `check_moments` does, and check the size of subsets."""
    check(subject, options, FRECHET)
    most = min(_numbers(subject, options))
    if options.subsets and options.subset_size > most:
        raise BadInput(
            f"--subset_size={options.subset_size} must be at most {most}, the examples of a side; "
            "--images and --samples say how many those are."
        )


def check_neighbours(subject: Subject, options: Options) -> None:
    """Check as `check` does, for measures that need nearest neighbours."""
    check(subject, options, PRDC)


def check_classes(subject: Subject, options: Options) -> None:
    """Check as `check` does, for measures that need a class for each image."""
    check(subject, options)
    shown = shown_by(subject, options)
    if shown.logits is None or "planes" in shown.images:
        raise BadInput(
            f"--features={shown.name!r} tells no class of an image, which this needs; name a "
            "classifier, or inception."
        )


def shown_by(subject: Subject, options: Options) -> Extractor:
    """Return the extractor that the user names, else the default for the data."""
    data = subject.run.dataset
    name = options.features or default(data.name, data.shape)
    key = "extractor", name
    if key not in subject.memory:
        found = extractor(name, data.shape, options.inception_weights)
        if options.features is None and name != data.name.removeprefix(PREFIX):
            found = found._replace(logits=None)  # 'sprites' knows no classes of other data
        subject.memory[key] = found
    return subject.memory[key]


def protocol(
    subject: Subject, options: Options, reference: str, sides: tuple[str, ...]
) -> dict[str, Any]:
    """Return the protocol in which values must agree to be compared.

    Args:
        reference: the protocol's key for the examples that replace the synthetic ones.
        sides: the sides whose numbers of examples are part of the protocol.
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
    """Choose as many examples as synthetic ones that are not on the real side.

    They come from the first split that has enough of them, beginning with the training split, else
    from the split that has most. Returns None if all examples are on the real side.
    """
    real, wanted = _numbers(subject, options)
    left = []
    for split in SPLITS:
        if split in subject.run.dataset.splits:
            start = real if split == subject.split else 0
            size = len(subject.run.dataset.splits[split].label)
            left.append(Reference(split, start, min(size, start + wanted)))
    most = max(left, key=lambda each: each.last - each.first)
    return most if most.last > most.first else None


def _sides(subject: Subject, options: Options) -> tuple[str, ...]:
    reference = reference_of(subject, options)
    enough = reference is not None and reference.last - reference.first >= FRECHET.synthetic
    return ("real", "synthetic", *(("reference",) if enough else ()))


def _numbers(subject: Subject, options: Options) -> tuple[int, int]:
    """Return the numbers of real and synthetic examples, equal unless the user sets the latter."""
    real = len(first(subject, options, None).label)
    return real, options.samples or real


def views_of(subject: Subject, options: Options, most: int | None) -> dict[str, np.ndarray]:
    """Compute features of the 'real', the 'synthetic' and the 'reference' examples."""
    return {
        which: np.concatenate(list(feature_blocks(subject, options, which)))[:most]
        for which in _sides(subject, options)
    }


def synthetic(subject: Subject, options: Options, number: int) -> Shaped[np.ndarray, "n *shape"]:
    """Decode codes of the prior, to pixels in [0, 1] or to points."""
    key = "synthetic", number
    if key not in subject.memory:
        blocks = _synthetic_blocks(subject, options, number)
        subject.memory[key] = np.concatenate([np.asarray(x)[:valid] for x, valid in blocks])
    return subject.memory[key]


def _synthetic_blocks(
    subject: Subject, options: Options, number: int
) -> Iterator[tuple[Shaped[Array, "b *shape"], int]]:
    """Yield blocks of one size as in `synthetic`, and the number of valid examples of each."""
    run, key = subject.run, named_key(run_key(options.seed), "sample")
    codes = views.prior(run.method, subject.state, key, number)
    pixels, size = jax.jit(run.experiment.data.preprocess.pixels), min(AT_ONCE, number)
    codes = jnp.pad(codes, ((0, -number % size), (0, 0)))  # one shape, one compilation
    for i in range(0, number, size):
        x = views.decoded(run.method, subject.state, codes[i : i + size])
        yield pixels(jnp.asarray(x)), min(size, number - i)


def logits_of(subject: Subject, options: Options, which: str) -> Float[np.ndarray, "n p c"]:
    """Compute the classifier's logits of 'synthetic' or 'real' images."""
    return np.concatenate(list(logit_blocks(subject, options, which)))


def logit_blocks(
    subject: Subject, options: Options, which: str
) -> Iterator[Float[np.ndarray, "b p c"]]:
    """Yield the logits of `logits_of`, a block at a time."""
    shown = shown_by(subject, options)
    assert shown.logits is not None
    return _through(subject, options, shown.logits, "logits", which)


def feature_blocks(
    subject: Subject, options: Options, which: str
) -> Iterator[Float[np.ndarray, "b f"]]:
    """Yield features of 'real', 'synthetic' or 'reference' examples, a block at a time."""
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
    """Yield blocks of examples in pixels, and the number of valid examples of each."""
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
    """Yield blocks of real examples in pixels, or points, and the number of valid ones."""
    preprocess = subject.run.experiment.data.preprocess
    pixels, size = jax.jit(preprocess.pixels), min(AT_ONCE, len(examples.label))
    for batch, valid in iterate_split(examples, preprocess, size, evaluation_key(options)):
        yield pixels(batch.x), valid


def _double(x: np.ndarray) -> Array:
    return jnp.asarray(x, jnp.float64)
