"""A loss, a prior, a network, a data set and a metric of one's own: rows of latentgen's tables.

`config.plugins = ("my_idea",)` has every command import this module, see config.py beside it.
"""

import jax
import jax.numpy as jnp
import numpy as np

from latentgen.core.errors import BadInput
from latentgen.core.types import Net
from latentgen.data.sources import SOURCES, DataSet, Examples, Request, Source
from latentgen.evaluation import views
from latentgen.evaluation.measures import MEASURES
from latentgen.evaluation.measures.subject import Measure, Options, Result, Subject
from latentgen.networks import DECODERS, mlp
from latentgen.objectives.adversarial import LOSSES, AdversarialLoss
from latentgen.probability.priors import PRIORS, Prior


def opposite_labels_d(real, synthetic):
    """-(r - 1)^2 / 2 - (s + 1)^2 / 2, which D ascends (Mao et al. 2017, equation 8)."""
    return -((real - 1) ** 2) / 2 - (synthetic + 1) ** 2 / 2


def opposite_labels_g(real, synthetic):
    """s^2 / 2, which G descends."""
    return synthetic**2 / 2


def sphere(dim: int) -> Prior:
    """Uniform on the unit sphere: log p(z) = -log(2 pi^(d/2) / Gamma(d/2)) on it."""

    def sample(key, n):
        z = jax.random.normal(key, (n, dim))
        return z / jnp.linalg.norm(z, axis=1, keepdims=True)

    def log_prob(z):
        area = jnp.log(2.0) + dim / 2 * jnp.log(jnp.pi) - jax.lax.lgamma(dim / 2)
        return jnp.full(len(z), -area)

    return Prior(dim, sample, log_prob)


def fourier(shape, **options) -> Net:
    """An MLP of sines and cosines of the codes, of frequencies 1, 2 and 4."""
    net = mlp.decoder(shape, **options)

    def seen(z):
        angles = jnp.concatenate([z, 2 * z, 4 * z], axis=-1)
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)

    def init(key, z):
        return net.init(key, seen(z))

    def apply(params, stats, z, *, train, key=None):
        return net.apply(params, stats, seen(z), train=train, key=key)

    return Net(init, apply)


def stripes(request: Request) -> DataSet:
    """1,000 images of 8 x 8 whose rows (label 0) or columns (label 1) are of one random grey."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 1_000).astype(np.int32)
    rows = np.repeat(rng.integers(0, 256, (1_000, 8, 1, 1), np.uint8), 8, axis=2)
    x = np.where(label[:, None, None, None] == 0, rows, rows.swapaxes(1, 2))
    return DataSet("stripes", "1", "made by my_idea.py", {"train": Examples(x, label)})


def contrast(subject: Subject, options: Options) -> Result:
    """Mean standard deviation of an example's values: of samples, and of the split."""
    key = jax.random.key(options.seed)
    to_pixels = subject.run.experiment.data.preprocess.pixels
    n = min(1_000, len(subject.examples.label))
    z = views.prior(subject.run.method, subject.state, key, n)
    x = np.asarray(to_pixels(jnp.asarray(views.decoded(subject.run.method, subject.state, z))))
    data = np.asarray(subject.examples.x[:n]) / 255
    values = {
        name: float(images.reshape(n, -1).std(axis=1).mean())
        for name, images in (("synthetic", x), ("real", data))
    }
    return Result(values, {"samples": n})


def needs_images(subject: Subject, options: Options) -> None:
    """Refuse points, and a model that does not sample."""
    if len(subject.run.dataset.shape) != 3:
        raise BadInput(f"contrast needs images; {subject.run.dataset.name} has none.")
    views.probe(subject.run.method, "codes")


LOSSES["opposite_labels"] = AdversarialLoss(opposite_labels_d, opposite_labels_g)
PRIORS["sphere"] = sphere
DECODERS["fourier"] = fourier
SOURCES["stripes"] = Source(stripes)
MEASURES["contrast"] = Measure(contrast, needs_images)
