"""A trained model, opened from its workdir."""

import functools
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from latentgen.configs import experiment
from latentgen.core.errors import BadInput, choose, positive
from latentgen.core.keys import named_key, run_key
from latentgen.core.types import Method, PyTree
from latentgen.data import sources
from latentgen.evaluation import animations, inversion, styles, views
from latentgen.evaluation.inversion import Inverted
from latentgen.evaluation.inversion import Options as Inversion
from latentgen.evaluation.measures import measure, named
from latentgen.evaluation.measures.subject import Options, Result, Subject
from latentgen.networks.labels import cycle_labels
from latentgen.system.compilation import pin_settings
from latentgen.training import choice, classes, hooks, setup
from latentgen.training.pictures import png
from latentgen.training.setup import Run

Pixels = Shaped[np.ndarray, "n *shape"]
Label = int | Sequence[int] | np.ndarray | None


class Model:
    """A trained model. `latentgen.load` opens one, `latentgen.train` returns one.

    Images go in and come out as pixels: float32 in [0, 1], or uint8 on the way in. Points are
    coordinates as in their data set.

    step: number of updates of its weights.
    shape: shape of one example.
    classes: number of classes the model is conditioned on; 0: unconditional.
    config: config of its run, as plain data.
    method, state: the pure functions and the trained state; see `latentgen.Method`.
    """

    def __init__(self, run: Run, step: int, state: PyTree) -> None:
        self.run, self.step, self.state = run, step, state
        self.shape = run.dataset.shape
        self.classes = run.experiment.plan.classes
        self.config = run.config
        self.method = run.method

    def __repr__(self) -> str:
        name = self.config["method"]["name"]
        return f"<{name} of {self.run.folder}, step {self.step}, examples of {self.shape}>"

    def _repr_png_(self) -> bytes | None:
        """Draw samples, which a notebook shows for the model."""
        if self.method.sample is None or len(self.shape) != 3:
            return None
        x, preprocess = setup.sampler(self.run)(self.state), self.run.experiment.data.preprocess
        written = classes.captions(self.run, cycle_labels(len(x), self.classes))
        return png(hooks.draw(x, preprocess, None, captions=written))

    def sample(
        self, n: int, seed: int = 0, label: Label = None, truncation: float | None = None
    ) -> Pixels:
        """Draw n synthetic examples G(z), z ~ p(z).

        Args:
            seed: the same seed gives the same examples.
            label: the class of all, or of each; None: one class after the other.
            truncation: in (0, 1] of styles, in (0, 10] of codes, see
                `evaluation.styles.truncated`; None: none.

        Returns:
            (n, *shape), images as pixels in [0, 1].

        Raises:
            BadInput: n is below 1, a label is none of the classes, the method has no codes, or none
                that can be truncated.
        """
        if n < 1:
            raise BadInput(f"n={n} must be at least 1.")
        method, key = self._truncated(truncation), named_key(run_key(seed), "sample")
        key = named_key(key, "codes")
        if method.sample is not None and "codes" not in method.probes and label is None:
            x = jax.jit(method.sample, static_argnums=2)(self.state, key, n)
            return self._pixels(x)
        return self._decoded(method, views.prior(method, self.state, key, n), label)

    def interpolate(
        self,
        codes: int = 8,
        frames: int = 24,
        seed: int = 0,
        label: int | None = None,
        truncation: float | None = None,
    ) -> Pixels:
        """Decode a closed path through codes of the prior; see `evaluation.animations.loop`.

        Args:
            codes: number of codes; the path leads from the last to the first.
            frames: steps from one code to the next.
            label: the class of all; None: 0, for a conditional model.
            seed, truncation: see `sample`.

        Returns:
            (codes * frames, *shape), images as pixels in [0, 1].

        Raises:
            BadInput: a number is below 1, or as for `sample`.
        """
        positive("codes", codes)
        positive("frames", frames)
        self._labels(label, 1)
        own = 0 if label is None and self.classes else label
        key, method = named_key(run_key(seed), "sample"), self._truncated(truncation)
        return self._pixels(animations.loop(method, self.state, key, codes, frames, own))

    def _truncated(self, truncation: float | None) -> Method:
        if truncation is None:
            return self.method
        return styles.truncated(self.method, self.state, truncation)

    def decode(
        self,
        z: Float[Array | np.ndarray, "n d"],
        label: Label = None,
    ) -> Pixels:
        """Map codes to examples: E[x|z] of a VAE, G(z) of a GAN.

        Args:
            z: codes (n, d).
            label: see `sample`.

        Returns:
            (n, *shape), images as pixels in [0, 1].

        Raises:
            BadInput: the codes or labels do not fit.
        """
        z = jnp.asarray(z, jnp.float32)
        dim = sum(self.run.experiment.plan.layers)
        if z.ndim != 2 or (dim and z.shape[1] not in (dim, self.run.experiment.plan.layers[0])):
            raise BadInput(f"codes of shape {z.shape} must be (n, {dim}).")
        return self._decoded(self.method, z, label)

    def _decoded(self, method: Method, z: Float[Array, "n d"], label: Label) -> Pixels:
        labels = self._labels(label, len(z))
        if labels is None and self.classes:
            labels = cycle_labels(len(z), self.classes)
        return self._pixels(views.decoded(method, self.state, z, labels))

    def encode(
        self,
        x: Shaped[Array | np.ndarray, "n *raw"],
        label: Label = None,
        seed: int = 0,
    ) -> Float[np.ndarray, "n d"]:
        """Map examples to codes: the centre of q(z|x).

        Args:
            x: (n, *shape), a single channel may be left out; images as uint8 or floats in [0, 1].
            label: their classes; a model that is conditioned on them needs them.
            seed: seed of the noise of preprocessing.

        Returns:
            Codes (n, d).

        Raises:
            BadInput: the examples do not fit, a label is missing, or the method has no encoder.
        """
        encode = views.probe(self.method, "encode")
        inputs, labels = self._inputs(x, label, seed)
        labels = jnp.zeros(len(inputs), jnp.int32) if labels is None else labels
        encode_batch = functools.partial(jax.jit(encode), self.state)
        size = views.AT_ONCE
        parts = [
            encode_batch(inputs[i : i + size], labels[i : i + size])
            for i in range(0, len(inputs), size)
        ]
        return np.concatenate([np.asarray(part) for part in parts])

    def reconstruct(
        self,
        x: Shaped[Array | np.ndarray, "n *raw"],
        label: Label = None,
        seed: int = 0,
    ) -> Pixels:
        """Encode, then decode; arguments as for `encode`, result as for `decode`."""
        return self.decode(self.encode(x, label, seed), label)

    def invert(
        self,
        x: Shaped[Array | np.ndarray, "n *raw"],
        label: Label = None,
        seed: int = 0,
        **options: Any,
    ) -> Inverted:
        """Find the codes, or styles, whose examples are nearest to x, by Adam.

        Args:
            x, label: as for `encode`.
            seed: of the starts and of the noise of preprocessing.
            options: see `evaluation.inversion.Options`: distance, space, steps, lr, restarts, ...

        Returns:
            `codes` (n, d); `x` (n, *shape), decoded from them, images as pixels in [0, 1]; and
            `distances` (n,) from the given examples.

        Raises:
            BadInput: the examples or options do not fit, a label is missing, or the method has no
                codes.
        """
        if unknown := options.keys() - set(Inversion._fields):
            valid = ", ".join(sorted(Inversion._fields))
            raise BadInput(f"{min(unknown)!r} is no option. Valid: {valid}.")
        inputs, labels = self._inputs(x, label, seed)
        preprocess, key = self.run.experiment.data.preprocess, named_key(run_key(seed), "invert")
        found = inversion.invert(
            self.method, self.state, inputs, labels, preprocess, key, Inversion(**options)
        )
        return found._replace(x=self._pixels(found.x))

    def evaluate(
        self,
        metrics: str | Sequence[str] = ("terms",),
        split: str | None = None,
        **options: Any,
    ) -> dict[str, dict[str, Any]]:
        """Measure the model on a split of its data; nothing is written.

        Args:
            metrics: names of `python -m latentgen.evaluate --metrics`.
            split: train, validation or test; None: test, or validation where there is no test.
            options: flags of that command: seed, images, k, chains, samples, features, ...

        Returns:
            Metric -> its values; a mean over images has its standard error beside it. One that
            cannot be had is left out with a warning.

        Raises:
            BadInput: a metric or option is unknown, or no metric applies to this model.
        """
        unknown = options.keys() - set(Options._fields)
        if unknown:
            raise BadInput(
                f"{min(unknown)!r} is no option. Valid: {', '.join(sorted(Options._fields))}."
            )
        wanted = [metrics] if isinstance(metrics, str) else list(metrics)
        chosen = {name: named("metrics", name) for name in wanted}
        splits = dict(self.run.dataset.splits)
        split = split or ("test" if "test" in splits else "validation")
        choose("split", split, splits)
        subject = Subject(self.run, self.step, self.state, split, {})
        found: dict[str, dict[str, Any]] = {}
        reasons = []
        for name, result, _ in measure(chosen, subject, Options(**options)):
            if isinstance(result, Result):
                found[name] = dict(result.values)
            else:
                reasons.append(f"{name}: {result}")
        if not found:
            raise BadInput(" ".join(reasons))
        for reason in reasons:
            warnings.warn(reason, stacklevel=2)
        return found

    def _inputs(
        self, x: Shaped[Array | np.ndarray, "n *raw"], label: Label, seed: int
    ) -> tuple[Shaped[Array, "n *shape"], Int[Array, " n"] | None]:
        """Preprocess examples; check their labels, which a conditional model needs."""
        if self.classes and label is None:
            raise BadInput("label is missing: this model is conditioned on classes.")
        raw, key = self._raw(x), named_key(run_key(seed), "preprocess")
        x = self.run.experiment.data.preprocess.forward(jnp.asarray(raw), key)
        return x, self._labels(label, len(raw))

    def _raw(self, x: Shaped[Array | np.ndarray, "n *raw"]) -> np.ndarray:
        """Convert examples to uint8 images with channels, or to float32 points."""
        x = np.asarray(x)
        if len(self.shape) == 3 and self.shape[-1] == 1 and x.shape[1:] == self.shape[:2]:
            x = x[..., None]
        if x.shape[1:] != self.shape or not len(x):
            raise BadInput(f"examples of shape {x.shape} must be {('n', *self.shape)}.")
        if len(self.shape) != 3:
            return x.astype(np.float32)
        return sources.as_bytes(x)

    def _pixels(self, x: Shaped[Array | np.ndarray, "n *shape"]) -> Pixels:
        return np.asarray(self.run.experiment.data.preprocess.pixels(jnp.asarray(x)))

    def _labels(self, label: Any, n: int) -> Int[Array, " n"] | None:
        if label is None:
            return None
        found = np.asarray(label)
        whole = np.issubdtype(found.dtype, np.integer) and found.shape in ((), (n,))
        if not whole or not ((found >= 0) & (found < self.classes)).all():
            valid = f"{n} whole numbers below {self.classes}, or one" if self.classes else "None"
            raise BadInput(f"label={label!r} does not fit this model. Valid: {valid}.")
        return jnp.broadcast_to(jnp.asarray(found, jnp.int32), (n,))


def load(
    workdir: str | os.PathLike[str],
    step: int | None = None,
    *,
    checkpoint: str = choice.NEWEST,
    weights: str | None = None,
    method: Method | None = None,
    data: Any = None,
    data_dir: str | None = None,
    manual_dir: str | None = None,
) -> Model:
    """Load the model of a run; its training data are read when they are first used.

    JAX's settings that change numbers get their defaults in this process, as in `train`.

    Args:
        workdir: the run's folder, finished or not.
        step: which checkpoint; None: the one that `checkpoint` names.
        checkpoint: newest, or best: by the measure that the run took during training.
        weights: 'ema', the moving average; 'raw', the weights of the last step; a number of
            `config.method.ema_more`, that average; None: those that are sampled.
        method: the method, for a run whose method was made in Python.
        data: the data, for a run on data given in Python; used by `Model.evaluate`; see `train`.
        data_dir, manual_dir: folders of the data; None: those of the training.

    Raises:
        BadInput: the folder holds no run or no checkpoint, or the data differ from the run's.
        Damaged: the checkpoint differs from what was saved.
    """
    pin_settings()
    folder = Path(workdir)
    dataset = None
    if data is not None:
        dataset = as_dataset(data, experiment(setup.config(folder)).data.validation)
    run = setup.reopen(folder, data_dir, manual_dir, dataset, method, lazily=True)
    found, state = choice.restore_kind(run, step, checkpoint)
    return Model(run, found, choice.with_weights(run, state, weights)[1])


def as_dataset(data: Any, validation: int | None) -> sources.DataSet | None:
    """Convert the `data` of `train` to a data set; None stays None.

    Args:
        validation: see `sources.from_arrays`.

    Raises:
        BadInput: as for `sources.from_arrays`.
    """
    if data is None or isinstance(data, sources.DataSet):
        return data
    if isinstance(data, sources.Examples):
        data = (data.x, data.label)
    if isinstance(data, tuple | list) and len(data) != 2:
        raise BadInput(f"data of {len(data)} values must be x, or a pair (x, label).")
    x, label = data if isinstance(data, tuple | list) else (data, None)
    return sources.from_arrays(x, label, validation=validation)
