"""Modes of the data among samples: of a mixture in the plane, or by a classifier.

Each value is reported with those of real examples, of real examples without one mode, and of
uniform noise. A count that does not distinguish these three cannot be trusted for samples.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Shaped

from latentgen.core import devices
from latentgen.core.errors import BadInput
from latentgen.core.keys import named_key
from latentgen.data.dataset import Examples
from latentgen.data.stacked import CLASSES, PLANES, PREFIX
from latentgen.data.toys import MODES, Modes
from latentgen.evaluation.features import Extractor
from latentgen.evaluation.measures import samples
from latentgen.evaluation.measures.subject import Options, Result, Subject, cut, evaluation_key
from latentgen.metrics import confusion
from latentgen.metrics.modes import NEAR, coverage, nearest, reverse_kl
from latentgen.training.pictures import scatter

POINTS, STACKED, IMAGES = 2_500, 26_000, 10_000
"""Default numbers of samples, as in Lin et al. 2018 (PacGAN, arXiv:1712.04086)."""

CONFIDENT = 0.9
"""The probability of the class of each plane from which a sample counts as confident."""

LEAST = {1: 0.1, PLANES: 0.5}
"""Number of planes -> fraction of a mode's share in the data above which it is captured.

With 26 samples a mode, no smaller fraction than a half can be distinguished from zero."""

WIDER = 1.25
"""Side of the box of uniform noise, relative to the box around the modes."""

Figures = dict[str, Any]


class Verdicts(NamedTuple):
    """A classifier's logits of real planes, and their classes."""

    logits: Float[np.ndarray, "m c"]
    label: Int[np.ndarray, " m"]


def modes(subject: Subject, options: Options) -> Result:
    """Count captured modes, and compute KL(modes of samples || modes of data)."""
    name = subject.run.dataset.name
    if name in MODES:
        return _of_points(subject, options)
    number = options.samples or (STACKED if name.startswith(PREFIX) else IMAGES)
    options = options._replace(samples=number)
    shown = samples.shown_by(subject, options)
    logits = samples.logits_of(subject, options, "synthetic")
    planes = logits.shape[1]
    expected = shares(subject, planes)
    split, known = _held_out_verdicts(subject, options, shown, planes)
    confused = confusion.confusions(
        jnp.asarray(known.label), jnp.asarray(known.logits.argmax(axis=1)), logits.shape[-1]
    )
    key = named_key(evaluation_key(options), "modes")
    of = partial(_of_classes, expected=expected, confused=confused, key=key)
    rng = np.random.default_rng(options.seed)
    real = _verdicts(subject, options, shown, subject.split, planes)
    hardest = _hardest_class(confused)
    values: Figures = {"of": len(expected)}
    values |= _with_references(
        of(logits),
        of(_resampled(rng, real, number, planes)),
        of(_resampled(rng, real, number, planes, hardest)),
        of(_noise(rng, shown, subject.run.dataset.shape, number)),
    )
    protocol = {
        "confident_from": CONFIDENT,
        "corrected_by": f"the classifier's confusions on {len(known.label)} {split} planes",
        "captured_corrected_is": f"a share above {LEAST[planes]:g} of the data's",
        "removed": f"class {hardest}, {len(expected) - (len(confused) - 1) ** planes} of the modes",
    }
    return Result(values, {**shown.stamp, "synthetic": number, **protocol})


def _of_points(subject: Subject, options: Options) -> Result:
    true, number = MODES[subject.run.dataset.name], options.samples or POINTS
    x = samples.synthetic(subject, options, number)
    others = points_beside(true, subject.examples, number, options.seed)
    values: Figures = {"of": len(true.means)}
    values |= _with_references(points_near(true, x), *others)
    values["share_of_all"], values["share_of_high_quality"] = _shares_of_modes(true, x)
    protocol = {"synthetic": number, "high_quality_within": f"{NEAR:g} standard deviations"}
    return Result(values, protocol, scatter(x, np.asarray(subject.examples.x[:5_000])))


def points_beside(
    true: Modes, examples: Examples, number: int, seed: int
) -> tuple[Figures, Figures, Figures]:
    """Return values of real points, of real points without the first mode, and of noise."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(examples.label))
    points, label = np.asarray(examples.x)[order], examples.label[order]
    half = WIDER * np.abs(true.means).max()
    noise = rng.uniform(-half, half, (number, 2)).astype(np.float32)
    found = (points[:number], points[label != 0][:number], noise)
    real, removed, uniform = (points_near(true, x) for x in found)
    return real, removed, uniform


def points_near(true: Modes, x: Shaped[np.ndarray, "n 2"]) -> Figures:
    """Return values of points, by name; by default, values are of samples of high quality."""
    k = len(true.means)
    near = nearest(jnp.asarray(x), jnp.asarray(true.means, jnp.float32), true.sd)
    found = coverage(*near, jnp.full(k, 1 / k))._asdict()
    return {n: int(v) if "captured" in n else float(v) for n, v in found.items()}


def _shares_of_modes(true: Modes, x: Shaped[np.ndarray, "n 2"]) -> tuple[list[float], list[float]]:
    """Return each mode's share of all samples: those nearest to it, then those of high quality."""
    near = nearest(jnp.asarray(x), jnp.asarray(true.means, jnp.float32), true.sd)
    counts = [np.bincount(np.asarray(near.mode), w, len(true.means))
              for w in (np.ones(len(x)), np.asarray(near.high_quality, float))]  # fmt: skip
    every, good = ((count / len(x)).tolist() for count in counts)
    return every, good


def _of_classes(
    logits: Float[np.ndarray, "n p c"],
    expected: Float[np.ndarray, " k"],
    confused: Float[Array, "c c"],
    key: Key[Array, ""],
) -> Figures:
    """Return values by a classifier: of all samples, of confident ones, and corrected."""
    mode, planes = _modes(logits), logits.shape[1]
    chance = jax.nn.softmax(jnp.asarray(logits), axis=-1).max(axis=-1)
    found = coverage(jnp.asarray(mode), (chance >= CONFIDENT).all(axis=1), jnp.asarray(expected))
    counts = jnp.asarray(np.bincount(mode, minlength=len(expected)), jnp.float32)
    share = _true_shares(counts, confusion.chances(confused), planes)
    # It draws thousands of binomials one by one, for which a GPU takes minutes.
    drawn_from = (key, counts, confused, jnp.asarray(LEAST[planes] * expected))
    corrected = _captured(*jax.device_put(drawn_from, devices.cpu()), planes)
    return {
        "captured": int(found.captured_by_any),
        "captured_confident": int(found.captured),
        "captured_corrected": int(corrected.modes),
        "captured_corrected_low": round(float(corrected.low)),
        "captured_corrected_high": round(float(corrected.high)),
        "confident": float(found.high_quality),
        "reverse_kl": float(found.reverse_kl),
        "reverse_kl_confident": float(found.reverse_kl_high_quality),
        "reverse_kl_corrected": float(reverse_kl(share, jnp.asarray(expected))),
    }


_true_shares = jax.jit(confusion.true_shares, static_argnums=2)
_captured = jax.jit(confusion.captured, static_argnums=4)


def _modes(logits: Float[np.ndarray, "n p c"]) -> Int[np.ndarray, " n"]:
    """Return the mode of each sample, whose digits are the classes of its planes."""
    _, planes, classes = logits.shape
    return logits.argmax(axis=-1) @ classes ** np.arange(planes)[::-1]


def _with_references(found: Figures, real: Figures, removed: Figures, noise: Figures) -> Figures:
    """Return the values of samples, and with a prefix those of the references."""
    others = {"real": real, "removed": removed, "noise": noise}
    return found | {
        f"{name}_{key}": value for name, each in others.items() for key, value in each.items()
    }


def _hardest_class(confused: Float[Array, "c c"]) -> int:
    """Return the class for which others are most often taken, whose absence is hardest to see."""
    chance = np.asarray(confusion.chances(confused))
    return int((chance * (1 - np.eye(len(chance)))).sum(axis=0).argmax())


def _resampled(
    rng: np.random.Generator,
    real: Verdicts,
    number: int,
    planes: int,
    without: int | None = None,
) -> Float[np.ndarray, "n p c"]:
    """Draw logits of real planes with replacement, instead of samples.

    Args:
        without: a class to leave out.
    """
    candidates = np.flatnonzero(real.label != without)
    return real.logits[rng.choice(candidates, size=(number, planes))]


def _noise(
    rng: np.random.Generator, shown: Extractor, shape: tuple[int, ...], number: int
) -> Float[np.ndarray, "n p c"]:
    """Compute logits of images whose pixels are uniform on [0, 1]."""
    assert shown.logits is not None
    size = min(samples.AT_ONCE, number)
    blocks = [shown.logits(jnp.asarray(rng.random((size, *shape), np.float32)))
              for _ in range(-(-number // size))]  # fmt: skip
    return np.concatenate([np.asarray(block) for block in blocks])[:number]


def _held_out_verdicts(
    subject: Subject, options: Options, shown: Extractor, planes: int
) -> tuple[str, Verdicts]:
    """Return a split that is not evaluated, if there is one, and verdicts on its examples."""
    splits = [s for s in ("validation", "test", "train") if s in subject.run.dataset.splits]
    split = next((s for s in splits if s != subject.split), subject.split)
    return split, _verdicts(subject, options, shown, split, planes)


def _verdicts(
    subject: Subject, options: Options, shown: Extractor, split: str, planes: int
) -> Verdicts:
    """Return the classifier's logits and labels of a split's first `IMAGES` images, by plane."""
    known = subject.memory.get(("verdicts", split))
    if known is None:
        examples = cut(subject.run.dataset.splits[split], IMAGES)
        found = list(_logits(shown.logits, samples.pixel_blocks(subject, options, examples)))
        classes = found[0].shape[-1]
        label = _by_plane(examples.label, planes, classes)
        known = Verdicts(np.concatenate(found).reshape(-1, classes), label.reshape(-1))
        subject.memory["verdicts", split] = known
    return known


def _logits(
    network: Callable[[Array], Array] | None, blocks: Iterator[tuple[Array, int]]
) -> Iterator[np.ndarray]:
    assert network is not None
    return (np.asarray(network(x))[:valid] for x, valid in blocks)


def shares(subject: Subject, planes: int) -> Float[np.ndarray, " k"]:
    """Return the share of each mode; planes are independent, so that their shares multiply."""
    label: Int[np.ndarray, " n"] = subject.run.dataset.splits["train"].label
    classes = _classes(subject)
    by_plane = _by_plane(label, planes, classes)
    share = np.bincount(by_plane.ravel(), minlength=classes) / by_plane.size
    joint = share
    for _ in range(planes - 1):
        joint = np.outer(joint, share).ravel()
    return joint.astype(np.float32)


def _by_plane(label: Int[np.ndarray, " n"], planes: int, classes: int) -> Int[np.ndarray, "n p"]:
    return label[:, None] // classes ** np.arange(planes)[::-1] % classes


def _classes(subject: Subject) -> int:
    """Return the number of classes of the data, of each plane of stacked sets."""
    dataset = subject.run.dataset
    stacked = dataset.name.startswith(PREFIX)
    return CLASSES if stacked else int(dataset.splits["train"].label.max()) + 1


def check(subject: Subject, options: Options) -> None:
    """Raise BadInput if the modes of samples cannot be determined."""
    name = subject.run.dataset.name
    samples.check(subject, options)
    if name in MODES:
        return
    shown = samples.shown_by(subject, options)
    plain = name.removeprefix(PREFIX)
    planes = PLANES if name.startswith(PREFIX) else 1
    logits, classes = shown.logits, _classes(subject)
    if logits is None or shown.name == "inception":
        raise BadInput(
            f"--features={shown.name!r} tells no modes of {plain}; name a classifier of its "
            f"{classes} classes (experiments/classifier.py and latentgen.export make one)."
        )
    shape = subject.run.dataset.shape
    found = logits(jnp.zeros((1, *shape))).shape[1:]
    if found != (planes, classes):
        raise BadInput(
            f"--features={shown.name!r} tells {found[1]} classes of {found[0]} planes; modes of "
            f"{name} need {classes} of {planes}."
        )
