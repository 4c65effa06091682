"""Train a published recipe at full width while there is time; estimate the time of the whole.

SNGAN on 32x32 images (Miyato et al. 2018, arXiv:1802.05957): residual networks of 256 and 128
channels, hinge, five discriminator steps, batches of 64, 100,000 steps of the generator. The images
are those that come with an installation: scikit-learn's digits, enlarged four times, or random ones
where that is not installed. Speed does not depend on them; the picture does.
"""

import functools
import time

import jax
import numpy as np

from experiments.benchmarks.accelerator import works
from experiments.benchmarks.accelerator.configs import images, run_of
from experiments.benchmarks.accelerator.parts import Context, Item, Row
from experiments.benchmarks.accelerator.results import slug
from experiments.benchmarks.trainer import Trainer
from latentgen.data import sources
from latentgen.training import pictures

STEPS = 100_000
BATCH, DRY_BATCH = 64, 4
CHUNK, DRY_CHUNK = 50, 2
MARGIN = 15.0  # seconds for the picture and for what was compiled
MOST = 60.0  # seconds of training


def items(context: Context) -> list[Item]:
    """The only recipe; add others here."""
    return [Item("SNGAN 32x32 at full width", functools.partial(trained, context))]


def data(shape: tuple[int, ...]) -> tuple[np.ndarray, str]:
    """Images of this shape, and what they show."""
    try:
        digits = sources.load("digits").splits["train"].x
    except ModuleNotFoundError:
        return images(2048, shape), "random numbers"
    factor = shape[0] // digits.shape[1]
    x = np.asarray(digits).repeat(factor, 1).repeat(factor, 2).repeat(shape[2], 3)
    return x, f"scikit-learn's digits, enlarged {factor} times"


def trained(context: Context) -> list[Row]:
    """Train as many steps as there is time for."""
    began = time.monotonic()
    work = works.works(context.dry)["dcgan" if context.dry else "sngan"]  # compiles sooner
    batch, chunk = (DRY_BATCH, DRY_CHUNK) if context.dry else (BATCH, CHUNK)
    x, shown = data(work.shape)
    run = run_of(works.config_of(work, "TF32", batch), x)
    trainer = Trainer(run, chunk)
    jax.block_until_ready(trainer())  # compiles
    seconds = min(MOST, max(1.0, context.seconds - MARGIN - (time.monotonic() - began)))
    rate = steps_per_second(trainer, 0.5 if context.dry else seconds)
    picture = drawn(context, trainer)
    return [
        {
            "recipe": work.what,
            "width": "narrow" if context.dry else "full",
            "precision": "TF32",
            "data": shown,
            "batch": batch,
            "steps": trainer.done,
            "steps_per_second": rate,
            "images_per_second": rate * batch * run.method.draws,
            "recipe_steps": STEPS,
            "gpu_hours": STEPS / rate / 3600,
            "picture": picture,
            "finite": bool(trainer()),
        }
    ]


def steps_per_second(trainer: Trainer, seconds: float) -> float:
    """Train for so long; returns the rate."""
    began, first = time.monotonic(), trainer.done
    while time.monotonic() - began < seconds:
        jax.block_until_ready(trainer())
    return (trainer.done - first) / (time.monotonic() - began)


def drawn(context: Context, trainer: Trainer) -> str:
    """Samples as a picture beside the JSON; returns its name."""
    sample = trainer.run.method.sample
    assert sample is not None  # a GAN has one
    x = jax.jit(sample, static_argnums=2)(trainer.state, jax.random.key(1), 64)
    name = context.results["card"]["name"] if not context.dry else "dry run"
    path = context.folder / f"{slug(name)}-recipe.png"
    pictures.save_png(path, pictures.grid(np.asarray(x)))
    return path.name
