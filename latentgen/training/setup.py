"""Setup of a run: from a config, or from the folder of an earlier run."""

import sys
from collections.abc import Callable, Mapping
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Key

from latentgen import configs
from latentgen.configs import Experiment
from latentgen.configs.section import is_averaged
from latentgen.core.errors import BadInput, Diverged
from latentgen.core.keys import named_key, run_key
from latentgen.core.types import Method, PyTree, Terms
from latentgen.core.wrappers import with_microbatches
from latentgen.data import pipeline, sources
from latentgen.data.preprocess import preprocess_for
from latentgen.storage import evidence, workdir
from latentgen.storage.checkpoint import Checkpoints
from latentgen.system import machine, memory, plugins
from latentgen.training.best import Evaluation
from latentgen.training.mesh import placement

SUMMARY = "summary.json"
COLLAPSED = "collapsed.json"
IMAGES, POINTS, PAIRS = 64, 2_000, 32  # shown in a picture


class EvalFns(NamedTuple):
    """Jitted functions that initialize and evaluate a run.

    Runs that differ in hyperparameters only share the compiled functions.

    init: (key) -> state
    sample: (state, key) -> samples for a picture: `IMAGES` images or `POINTS` points; None if the
        method cannot sample
    reconstruct: (state, batch) -> reconstructed images; None if images are not encoded
    terms: see `Method.terms`
    """

    init: Callable[..., PyTree]
    sample: Callable[..., Array] | None
    reconstruct: Callable[..., Array] | None
    terms: Callable[..., Terms]


class Run(NamedTuple):
    """A run: its folder, its config, and the data and method that the config describes.

    folder: the workdir
    config: as plain JSON data
    eval_fns: jitted functions of the method
    may_change: (config key) -> True if the folder's config may differ in it, see `transfer`
    weights: key path -> initial value of this leaf of the state; None for the method's own `init`
    origin: provenance of `weights`: folder, step, players, hashes
    places: flag -> folder of the data, for the flags that the user set
    show: called with (name, PNG bytes) of each picture in training
    identity: () -> the identity of the data, see `sources.identity`, computed once
    evaluation: the measure to take during training, see `evaluator.py`; None: none
    """

    folder: Path
    config: Mapping[str, Any]
    experiment: Experiment
    dataset: sources.DataSet
    method: Method
    eval_fns: EvalFns
    may_change: Callable[[str], bool] = lambda key: False
    weights: Mapping[str, np.ndarray] | None = None
    origin: Mapping[str, Any] | None = None
    places: Mapping[str, str] = {}
    show: Callable[[str, bytes], None] = lambda name, png: None
    identity: Callable[[], dict[str, Any]] = dict
    evaluation: Evaluation | None = None

    @property
    def key(self) -> Key[Array, ""]:
        """The run's key, from which all others are derived."""
        return run_key(self.experiment.seed)

    @property
    def state(self) -> PyTree:
        """Shapes and dtypes of the state's leaves."""
        return _state(self.method.init)


@lru_cache(maxsize=4)  # a trace of all networks
def _state(init: Callable[[Key[Array, ""]], PyTree]) -> PyTree:
    return jax.eval_shape(init, run_key(0))


def make_eval_fns(
    make: Callable[[Mapping[str, Any]], Method], like: Method, shape: tuple[int, ...]
) -> Callable[[Mapping[str, Any]], EvalFns]:
    """Make the function hyperparameters -> `EvalFns`; all results share the compiled code.

    Args:
        make: hyperparameters -> method; called within jit, with traced hyperparameters.
        like: a method with the same probes.
        shape: of one example.
    """
    is_image = len(shape) == 3
    n = IMAGES if is_image else POINTS

    def init(hypers, key):
        return make(hypers).init(key)

    def sample(hypers, state, key):
        return make(hypers).sample(state, key, n)  # type: ignore[misc]

    def reconstruct(hypers, state, batch):
        method = make(hypers)
        codes = method.probes["encode"](state, batch.x, batch.label)
        return method.probes["decode"](state, codes, batch.label)

    def terms(hypers, state, step, batch, key):
        return make(hypers).terms(state, step, batch, key)

    jitted = EvalFns(
        init=jax.jit(init),
        sample=None if like.sample is None else jax.jit(sample),
        reconstruct=jax.jit(reconstruct) if is_image and "encode" in like.probes else None,
        terms=jax.jit(terms),
    )

    def at(hypers: Mapping[str, Any]) -> EvalFns:
        bound: list[Any] = [fn and partial(fn, hypers) for fn in jitted]
        return EvalFns(*bound)

    return at


def load(
    folder: Path,
    config: Mapping[str, Any],
    data_dir: str | None,
    manual_dir: str | None,
    dataset: sources.DataSet | None = None,
    method: Method | None = None,
) -> Run:
    """Load the data of a config, check both, and return the run; write nothing to its folder.

    Args:
        data_dir, manual_dir: see `sources.load`.
        dataset: replaces the config's data, see `sources.from_arrays`.
        method: replaces the config's method.

    Raises:
        BadInput: the config is invalid, or its data are unknown, missing or damaged.
    """
    experiment = configs.experiment(config)
    if dataset is None:
        sources.check_data_dir(experiment.data.name, data_dir)
    raw = dataset or _dataset(experiment.data, data_dir, manual_dir)
    if dataset is not None:
        sources.checked_size(raw, experiment.data.size)
    raw = sources.relabelled(raw, experiment.data.labels)
    padded = sources.padded(raw, _checked_side(raw, experiment.data.pad_to))
    sizes = ", ".join(f"{len(e.label):,} {split}" for split, e in padded.splits.items())
    print(f"data: {padded.name} ({padded.origin}): {sizes}", file=sys.stderr)
    if len(padded.shape) == 3 and padded.shape[-1] not in (1, 3):
        raise BadInput(
            f"config.data.name={padded.name!r} has images of {padded.shape[-1]} channels; 1 or 3 "
            "can be shown."
        )
    _check_classes(experiment.plan.classes, padded)
    if experiment.data.balance and len(np.unique(padded.splits["train"].label)) < 2:
        raise BadInput(f"config.data.balance=True needs classes; {padded.name} has none.")
    if experiment.plan.score and padded.shape[-1] == 3:
        print(
            "likelihood: config.method.likelihood is not normalized over the values of these "
            "pixels; that of vae.py:images is",
            file=sys.stderr,
        )
    if sampled_weights(config) == "ema":
        print("weights: samples, validation and measures see the moving average", file=sys.stderr)
    folders = {"data_dir": data_dir, "manual_dir": manual_dir}
    run = _make_run(folder, config, experiment, padded, method)
    return run._replace(places={key: value for key, value in folders.items() if value})


def _dataset(data: configs.Data, data_dir: str | None, manual_dir: str | None) -> sources.DataSet:
    if data.name == sources.ARRAYS:
        raise BadInput(
            f"config.data.name={data.name!r}: this run was given its data in Python; give them to "
            "latentgen.load or latentgen.train."
        )
    return sources.load(
        data.name,
        validation=data.validation,
        data_dir=data_dir,
        manual_dir=manual_dir,
        size=data.size,
        color=data.color,
    )


def _make_run(
    folder: Path,
    config: Mapping[str, Any],
    experiment: Experiment,
    dataset: sources.DataSet,
    method: Method | None,
) -> Run:
    """Make the run without reading the splits of its data."""
    preprocess_for(experiment.data.preprocess.name, dataset.dtype)
    if method is None:
        method = experiment.plan.wire(dataset.shape)
    else:
        method = with_microbatches(method, experiment.microbatches)
    eval_fns = make_eval_fns(lambda _: method, method, dataset.shape)({})
    name = experiment.data.preprocess.name
    run = Run(folder, config, experiment, dataset, method, eval_fns)
    return run._replace(identity=cache(lambda: sources.identity(dataset, name)))


def description(run: Run) -> dict[str, Any]:
    """Return shape and dtype of a raw example, names of classes and folders, for the workdir."""
    shape, dtype = run.dataset.shape, run.dataset.dtype
    names = {"classes": list(run.dataset.classes)} if run.dataset.classes else {}
    return {"shape": list(shape), "dtype": dtype.name, **names, **run.places}


def sampled_weights(config: Mapping[str, Any]) -> str:
    """Return 'ema' if the run samples with a moving average of its weights, else 'raw'."""
    return "ema" if is_averaged(config["method"]) else "raw"


def with_config(run: Run, folder: Path, config: Mapping[str, Any]) -> Run:
    """Return the run with another config, which differs in its seed and in numbers only."""
    experiment = configs.experiment(config)
    method = experiment.plan.wire(run.dataset.shape)
    return run._replace(folder=folder, config=config, experiment=experiment, method=method)


def _checked_side(dataset: sources.DataSet, side: int) -> int:
    n = sum(len(examples.label) for examples in dataset.splits.values())
    bytes_ = n * side**2 * dataset.shape[-1]
    if bytes_ > (total := machine.memory().total):
        raise BadInput(
            f"config.data.pad_to={side} would make {memory.format_bytes(bytes_)} of "
            f"{dataset.name}; this machine has {memory.format_bytes(total)} of memory."
        )
    return side


def _check_classes(classes: int, dataset: sources.DataSet) -> None:
    if not classes:
        return
    labels = [examples.label for examples in dataset.splits.values()]
    present = max(int(label.max()) for label in labels) + 1
    unlabelled = sum(int((label < 0).sum()) for label in labels)
    if present <= 1 or unlabelled:
        problem = "none" if present <= 1 else f"{unlabelled:,} without one"
        raise BadInput(
            f"config.method.classes={classes} needs a label with each example; {dataset.name} has "
            f"{problem}; config.method.classes=0 looks at no labels."
        )
    if present > classes:
        raise BadInput(
            f"config.method.classes={classes} must be at least {present}, the classes of "
            f"{dataset.name}, or 0 for none."
        )


def finished(
    folder: Path, config: Mapping[str, Any], may_change: Callable[[str], bool] = lambda key: False
) -> bool:
    """Return whether the folder's run is done, without loading its data.

    Args:
        may_change: see `Run`.

    Raises:
        BadInput: the folder belongs to another config.
        Diverged: the run has diverged.
    """
    if not workdir.check_config(folder, config, may_change):
        return False
    if (record := evidence.diverged(folder)) is not None:
        raise Diverged(record["first"], record["last"], evidence.message(folder, record))
    if workdir.changed(folder, config) or not (folder / SUMMARY).exists():
        return False
    if not is_done(folder):
        print(
            f"{folder / SUMMARY} is not what a run writes at its end: it is written anew.",
            file=sys.stderr,
        )
        return False
    return True


def summary(folder: Path) -> dict[str, Any] | None:
    """Read the summary of the folder's run; None if there is none, or it is not valid."""
    try:
        data = workdir.read_json(folder / SUMMARY)
        steps, final = data["steps"], data["final"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    is_valid = type(steps) is int and isinstance(final, dict)
    return data if is_valid and all(isinstance(each, dict) for each in final.values()) else None


def is_done(folder: Path) -> bool:
    """Return whether the folder has a valid summary, of as many steps as its config has."""
    figures = summary(folder)
    try:
        return figures is not None and figures["steps"] == config(folder).get("steps")
    except BadInput:
        return False


def collapsed(folder: Path) -> int | None:
    """Read the step at which the generator had collapsed; None if it has not."""
    try:
        data = workdir.read_json(folder / COLLAPSED)
    except (OSError, ValueError):
        return None
    step = data.get("step") if isinstance(data, dict) else None
    return step if type(step) is int else None


def config(folder: Path) -> dict[str, Any]:
    """Read the config of the folder's run.

    Raises:
        BadInput: the folder has none.
    """
    try:
        data = workdir.read_json(folder / workdir.CONFIG)
    except (OSError, ValueError):
        data = None
    if not isinstance(data, dict):
        reason = "" if folder.is_dir() else " (there is no such folder)"
        raise BadInput(
            f"workdir={str(folder)!r} holds no run: no readable {workdir.CONFIG} in it{reason}."
        )
    data = workdir.without_history(data)
    plugins.check_outside(data, folder)
    return data


def reopen(
    folder: Path,
    data_dir: str | None,
    manual_dir: str | None,
    dataset: sources.DataSet | None = None,
    method: Method | None = None,
    lazily: bool = False,
) -> Run:
    """Load the folder's run, finished or not, and check that its data have not changed.

    Args:
        data_dir, manual_dir: see `sources.load`; None for the folders of the last training.
        dataset, method: see `load`.
        lazily: read the data when the first split is asked for; a run of 0.1.0 reads them at once.

    Raises:
        BadInput: the folder has no run, or other data than before; or as for `load`. Lazily,
            about the data at the first access of a split.
    """
    saved, folder_config = workdir.described(folder), config(folder)

    @cache
    def reopened() -> Run:
        run = load(
            folder,
            folder_config,
            data_dir or saved.get("data_dir"),
            manual_dir or saved.get("manual_dir"),
            dataset,
            method,
        )
        workdir.same_data(folder, run.identity())
        return run

    if not lazily or not saved:
        return reopened()
    experiment = configs.experiment(folder_config)
    shape, dtype = tuple(saved["shape"]), np.dtype(saved["dtype"])
    lazy = sources.LazySplits(shape, dtype, lambda: reopened().dataset.splits)
    unread = sources.DataSet(experiment.data.name, "", "not yet read", lazy)
    run = _make_run(folder, folder_config, experiment, unread, method)
    return run._replace(identity=lambda: reopened().identity())


def restore(run: Run, step: int | None, among: str = workdir.CHECKPOINTS) -> tuple[int, PyTree]:
    """Restore a checkpoint of the run, which may be training.

    Args:
        step: None for the newest undamaged checkpoint.
        among: the folder of checkpoints in the workdir.

    Returns:
        Updates done, and the state.

    Raises:
        BadInput: there is no such checkpoint.
        Damaged: it is damaged.
    """
    if not (run.folder / among).is_dir():
        raise BadInput(f"workdir={str(run.folder)!r} has no checkpoint yet.")
    like = run.state
    with Checkpoints(run.folder / among, read_only=True) as checkpoints:
        if step is not None:
            return checkpoints.restore(step, like)[:2]
        newest = checkpoints.newest(like, lambda line: print(line, file=sys.stderr))
    if newest is None:
        raise BadInput(f"workdir={str(run.folder)!r} has no checkpoint yet.")
    return newest[:2]


def feed_of(run: Run, mesh: Mesh | None = None) -> pipeline.Feed:
    """Make the feed of the run's training batches.

    Args:
        mesh: of the devices over which each batch is split; None for one device.

    Raises:
        BadInput: there are fewer examples than a batch has, or the number of devices does not
            divide the batch size.
    """
    return pipeline.feed(
        run.dataset.splits["train"],
        run.experiment.data.preprocess,
        run.experiment.batch_size,
        run.method.draws,
        run.key,
        placement=placement(mesh, run.experiment.batch_size, run.experiment.microbatches),
        augment=run.experiment.data.augment,
        balanced=run.experiment.data.balance,
    )


def rows_of(run: Run, feed: pipeline.Feed) -> Callable[[int, int], PyTree]:
    """Return `Feed.rows` of the run without a second copy of the resident data.

    Args:
        feed: of a run on the same data, whose `resident` the rows index.
    """
    if feed.resident == ():
        return feed_of(run).rows
    n, size = len(run.dataset.splits["train"].label), run.experiment.batch_size
    label = run.dataset.splits["train"].label if run.experiment.data.balance else None
    return pipeline.indices(run.key, n, size, run.method.draws, label)


def sampler(run: Run) -> Callable[[PyTree], Array]:
    """Make the function state -> samples for a picture, always from the same codes.

    Raises:
        BadInput: the method cannot sample.
    """
    sample, key = run.eval_fns.sample, named_key(run.key, "pictures")
    if sample is None:
        raise BadInput("this method generates nothing.")
    return lambda state: sample(state, key)
