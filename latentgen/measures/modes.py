"""Modes of the data that samples reach: of a mixture in the plane, or by a classifier."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from latentgen.data.stacked import CLASSES, PLANES, PREFIX
from latentgen.data.toys import MODES
from latentgen.errors import BadInput
from latentgen.measures import samples
from latentgen.measures.subject import Options, Result, Subject
from latentgen.metrics.modes import NEAR, coverage, nearest
from latentgen.training.pictures import scatter

POINTS, STACKED, IMAGES = 2_500, 26_000, 10_000
"""Samples, unless the user says: as Lin et al. 2018 (PacGAN, arXiv:1712.04086) count them."""


def modes(subject: Subject, options: Options) -> Result:
    """Modes captured of how many, the share of samples near one, KL(samples' || data's modes)."""
    name = subject.run.dataset.name
    if name in MODES:
        return _of_points(subject, options)
    number = options.samples or (STACKED if name.startswith(PREFIX) else IMAGES)
    options = options._replace(samples=number)
    shown = samples.shown_by(subject, options)
    logits = samples.logits_of(subject, options, "synthetic")
    mode = logits.argmax(axis=-1) @ CLASSES ** np.arange(logits.shape[1])[::-1]
    expected = shares(subject, logits.shape[1])
    found = coverage(jnp.asarray(mode), jnp.ones(number, bool), jnp.asarray(expected))
    values = {
        "captured": int(found.captured),
        "of": len(expected),
        "reverse_kl": float(found.reverse_kl),
    }
    return Result(values, {**shown.stamp, "synthetic": number})


def _of_points(subject: Subject, options: Options) -> Result:
    true, number = MODES[subject.run.dataset.name], options.samples or POINTS
    x = samples.synthetic(subject, options, number)
    k = len(true.means)
    near = nearest(jnp.asarray(x), jnp.asarray(true.means, jnp.float32), true.sd)
    found = coverage(*near, jnp.full(k, 1 / k))
    values = {
        "captured": int(found.captured),
        "of": k,
        "high_quality": float(found.high_quality),
        "reverse_kl": float(found.reverse_kl),
    }
    how = {"synthetic": number, "high_quality_within": f"{NEAR:g} standard deviations"}
    return Result(values, how, scatter(x, np.asarray(subject.examples.x[:5_000])))


def shares(subject: Subject, planes: int) -> Float[np.ndarray, " k"]:
    """The share of the data in each mode; planes are drawn apart, so that their shares multiply."""
    label: Int[np.ndarray, " n"] = subject.run.dataset.splits["train"].label
    classes = label[:, None] // CLASSES ** np.arange(planes)[::-1][None] % CLASSES
    share = np.bincount(classes.ravel(), minlength=CLASSES) / classes.size
    joint = share
    for _ in range(planes - 1):
        joint = np.outer(joint, share).ravel()
    return joint.astype(np.float32)


def check(subject: Subject, options: Options) -> None:
    """Raises BadInput where nothing says which mode a sample is of."""
    name = subject.run.dataset.name
    samples.check(subject, options)
    if name in MODES:
        return
    shown = samples.shown_by(subject, options)
    plain = name.removeprefix(PREFIX)
    planes = PLANES if name.startswith(PREFIX) else 1
    logits = shown.logits
    if logits is None or shown.name == "inception":
        raise BadInput(
            f"--features={shown.name!r} tells no modes of {plain}; name a classifier of its "
            f"{CLASSES} classes (experiments/classifier.py and latentgen.export make one)."
        )
    shape = subject.run.dataset.shape
    seen = logits(jnp.zeros((1, *shape))).shape[1:]
    if seen != (planes, CLASSES):
        raise BadInput(
            f"--features={shown.name!r} tells {seen[1]} classes of {seen[0]} planes; modes of "
            f"{name} need {CLASSES} of {planes}."
        )
