"""Training from Python, in a script or a notebook."""

import contextlib
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from ml_collections import ConfigDict

from latentgen.api.model import Model, as_dataset, load
from latentgen.configs import recipes
from latentgen.configs.section import LATER, plain
from latentgen.core.errors import BadInput, Stopped, nearest
from latentgen.core.types import Method
from latentgen.data import sources
from latentgen.evaluation import in_training
from latentgen.storage.workdir import flatten
from latentgen.sweeps.plan import applied
from latentgen.system.compilation import enable_compilation_cache, pin_settings
from latentgen.training import method_identity, setup, trainer, transfer

DEFAULTS: dict[str, Any] = {
    "seed": 0,
    "steps": 10_000,
    "batch_size": 64,
    "compute": "float32",
    "data": {"name": sources.ARRAYS, "preprocess": "unit", "validation": None, "pad_to": 0},
    "method": {"name": "python", "factory": ""},
    "skip_diverged": 0,
    "every": {"log": 250, "validate": 1_000, "sample": 1_000, "checkpoint": 1_000},
    "plugins": (),
}
"""The config of a method that was made in Python."""


def train(
    what: str | Mapping[str, Any] | ConfigDict | Method,
    data: Any = None,
    *,
    workdir: str | os.PathLike[str],
    changes: Mapping[str, Any] | None = None,
    extend: bool = False,
    allow_change: Collection[str] = (),
    data_dir: str | None = None,
    manual_dir: str | None = None,
) -> Model:
    """Train a model in a workdir, or continue an earlier call.

    An interrupt (Ctrl-C, or a notebook's stop button) saves a checkpoint and returns the model at
    that step; the same call again continues.

    JAX's settings that change numbers, such as jax_enable_x64, get their defaults in this process,
    and compiled programs are kept in the user's cache.

    Args:
        what: a recipe, 'latentgen:gan:dcgan' or 'experiments/gan.py:dcgan'; a config; or a method.
        data: x, or (x, label), a `sources.Examples` or a `sources.DataSet`; None: the data set that
            the config names. x is uint8 images (n, h, w, c), floats in [0, 1] of that shape, which
            are rounded to 256 levels, or points (n, d). The last tenth is held out for validation,
            or as many as `config.data.validation` says.
        workdir: the run's folder: checkpoints, pictures and figures, as `latentgen.run` writes.
        changes: changes of the config, key -> value: {"steps": 1_000, "optimizer.lr": 1e-3}.
        extend: allow more steps and other intervals than before, as `latentgen.run --extend`.
        allow_change: further keys of the config that may differ from before.
        data_dir, manual_dir: see `sources.load`.

    Returns:
        The model after the last step.

    Raises:
        BadInput: the config or the data are not valid, or the workdir holds a run of another
            config, method or data set.
        Diverged: a value is not finite; the message has the step and the tensor.

    Example:
        model = latentgen.train("latentgen:vae", images, workdir="runs/mine")
        pictures = model.sample(64)
    """
    method = what if isinstance(what, Method) else None
    dataset, config = _config_of(what, data, changes or {})
    folder = Path(workdir)
    pin_settings()
    enable_compilation_cache()
    may_change = transfer.may_change(extend, allow_change, config)
    done = setup.finished(folder, config, may_change)
    if not done:
        run = setup.load(folder, config, data_dir, manual_dir, dataset, method)
        method_identity.check(run)
        run = in_training.attached(run._replace(may_change=may_change))
        with _interrupts() as stopped, contextlib.suppress(Stopped):
            trainer.train(run._replace(show=_shown()), stuck=math.inf, stopped=stopped)
    model = load(folder, method=method, data=dataset, data_dir=data_dir, manual_dir=manual_dir)
    if done and method is not None:
        method_identity.check(model.run)  # its config tells neither methods nor arrays apart
    if done and dataset is not None:
        model.run.identity()
    return model


def _config_of(
    what: str | Mapping[str, Any] | ConfigDict | Method, data: Any, changes: Mapping[str, Any]
) -> tuple[sources.DataSet | None, dict[str, Any]]:
    """Return the data set of `data`, and the config with these changes as plain data."""
    if isinstance(what, Method):
        base: Mapping[str, Any] = DEFAULTS
        if data is None:
            raise BadInput("data is missing: a method made in Python names no data set.")
    elif isinstance(what, str):
        base = recipes.load(what).to_dict()
    else:
        base = what.to_dict() if isinstance(what, ConfigDict) else what
        recipes.check_plain(base)
    known = {**LATER, **flatten(plain(base))}  # `plain` drops later keys without effect
    for key in changes:
        if key not in known:
            raise BadInput(f"changes={key!r} is no key of the config{nearest(key, known)}")
    config = applied(plain(base), changes)
    dataset = as_dataset(data, config["data"]["validation"])
    if dataset is not None:
        points = {} if dataset.dtype == "uint8" else {"data.preprocess": "none"}
        config = applied(config, {"data.name": dataset.name} | points)
    return dataset, config


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], int | None]]:
    """Record the first interrupt within the context; a second one raises KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    signals_received: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def note(signum: int, frame: FrameType | None) -> None:
        signals_received.append(signum)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("interrupted: a checkpoint is saved after this chunk of steps", file=sys.stderr)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: signals_received[0] if signals_received else None
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)


def _shown() -> Callable[[str, bytes], None]:
    """Return a function that shows pictures in a notebook, each kind in one updated output."""
    if "ipykernel" not in sys.modules:
        return lambda name, png: None
    from IPython.display import Image, display  # type: ignore[import-not-found]

    displays: dict[str, Any] = {}

    def show(name: str, png: bytes) -> None:
        picture = Image(png, width=400)
        if name in displays:
            displays[name].update(picture)
        else:
            displays[name] = display(picture, display_id=True)

    return show
