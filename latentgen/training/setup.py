"""One run in its folder: made from a config, read back."""

import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Key

from latentgen import configs
from latentgen.configs import Experiment
from latentgen.core.errors import BadInput, Diverged
from latentgen.core.keys import named_key, run_key
from latentgen.core.types import Batch, Method, PyTree, Terms
from latentgen.data import pipeline, sources
from latentgen.data.preprocess import preprocess_for
from latentgen.storage import evidence, workdir
from latentgen.storage.checkpoint import Checkpoints
from latentgen.system import machine, memory, plugins
from latentgen.training import loop
from latentgen.training.hooks import AT_ONCE
from latentgen.training.mesh import place

SUMMARY = "summary.json"
COLLAPSED = "collapsed.json"
COUNTS = {
    *(
        "seed",
        "steps",
        "skip_diverged",
        "data.validation",
        "method.ema_start",
        "method.warmup_steps",
    ),
    *("every.validate", "every.sample", "every.checkpoint"),
}
"""Whole numbers in a config that shape no array."""
IMAGES, POINTS, PAIRS = 64, 2_000, 32  # what a picture shows


class EvalFns(NamedTuple):
    """Jitted functions that start and inspect a run, compiled once for all runs of one structure.

    init: key -> state
    sample: (state, key) -> as many samples as a picture shows; None if the method has none
    reconstruct: (state, batch) -> reconstructions; None where images are not encoded
    terms: see `Method.terms`
    """

    init: Callable[..., PyTree]
    sample: Callable[..., Array] | None
    reconstruct: Callable[..., Array] | None
    terms: Callable[..., Terms]


class Run(NamedTuple):
    """A run: its folder, its config as plain data, and what that describes.

    may_change: key -> whether the config of the folder may differ in it, see `transfer`
    weights: key path -> the array that a new run begins with in that place of its state
    origin: of these weights: whose they are
    places: folders that the user named for the data
    show: called with each picture of training, its kind and its PNG
    identity: () -> the identity of its data, see `sources.identity`, computed once
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

    @property
    def key(self) -> Key[Array, ""]:
        """Everything random in the run comes from it."""
        return run_key(self.experiment.seed)


def make_eval_fns(
    make: Callable[[Mapping[str, Any]], Method], like: Method, shape: tuple[int, ...]
) -> Callable[[Mapping[str, Any]], EvalFns]:
    """Map hyperparameters to the jitted functions of the run that has them.

    Args:
        make: hyperparameters -> method; called within the compiled functions, traced.
        like: a method of this structure.
        shape: of one example.
    """
    images = len(shape) == 3
    shown = IMAGES if images else POINTS

    def init(hypers, key):
        return make(hypers).init(key)

    def sample(hypers, state, key):
        return make(hypers).sample(state, key, shown)  # type: ignore[misc]

    def reconstruct(hypers, state, batch):
        method = make(hypers)
        codes = method.probes["encode"](state, batch.x, batch.label)
        return method.probes["decode"](state, codes, batch.label)

    def terms(hypers, state, step, batch, key):
        return make(hypers).terms(state, step, batch, key)

    jitted = EvalFns(
        init=jax.jit(init),
        sample=None if like.sample is None else jax.jit(sample),
        reconstruct=jax.jit(reconstruct) if images and "encode" in like.probes else None,
        terms=jax.jit(terms),
    )

    def at(hypers: Mapping[str, Any]) -> EvalFns:
        found: list[Any] = [fn and partial(fn, hypers) for fn in jitted]
        return EvalFns(*found)

    return at


def load(
    folder: Path,
    config: Mapping[str, Any],
    data_dir: str | None,
    manual_dir: str | None,
    dataset: sources.DataSet | None = None,
    method: Method | None = None,
) -> Run:
    """Return the run that a config describes, with its data, checked; write nothing to its folder.

    Args:
        data_dir, manual_dir: see `sources.load`.
        dataset: in place of the config's, as `sources.from_arrays` makes it.
        method: in place of the config's, made in Python.

    Raises:
        BadInput: the config does not fit, or its data are unknown, missing or damaged.
    """
    experiment = configs.experiment(config)
    found = dataset or _dataset(experiment.data, data_dir, manual_dir)
    padded = sources.padded(found, _checked_side(found, experiment.data.pad_to))
    sizes = ", ".join(f"{len(e.label):,} {split}" for split, e in padded.splits.items())
    print(f"data: {padded.name} ({padded.origin}): {sizes}", file=sys.stderr)
    if len(padded.shape) == 3 and padded.shape[-1] not in (1, 3):
        raise BadInput(
            f"config.data.name={padded.name!r} has images of {padded.shape[-1]} channels; 1 or 3 "
            "can be shown."
        )
    _check_classes(experiment.plan.classes, padded)
    if sampled_weights(config) == "ema":
        print("weights: samples, validation and measures see the moving average", file=sys.stderr)
    places = {"data_dir": data_dir, "manual_dir": manual_dir}
    run = _described(folder, config, experiment, padded, method)
    return run._replace(places={key: value for key, value in places.items() if value})


def _dataset(data: configs.Data, data_dir: str | None, manual_dir: str | None) -> sources.DataSet:
    if data.name == sources.ARRAYS:
        raise BadInput(
            f"config.data.name={data.name!r}: this run was given its data in Python; give them to "
            "latentgen.load or latentgen.train."
        )
    return sources.load(
        data.name, validation=data.validation, data_dir=data_dir, manual_dir=manual_dir
    )


def _described(
    folder: Path,
    config: Mapping[str, Any],
    experiment: Experiment,
    dataset: sources.DataSet,
    method: Method | None,
) -> Run:
    """The run on these data, of which the splits are not looked at."""
    preprocess_for(experiment.data.preprocess.name, dataset.dtype)
    method = method or experiment.plan.wire(dataset.shape)
    eval_fns = make_eval_fns(lambda _: method, method, dataset.shape)({})
    name = experiment.data.preprocess.name
    run = Run(folder, config, experiment, dataset, method, eval_fns)
    return run._replace(identity=cache(lambda: sources.identity(dataset, name)))


def description(run: Run) -> dict[str, Any]:
    """Shape and dtype of a raw example, and the folders that the data were read from."""
    shape, dtype = run.dataset.shape, run.dataset.dtype
    return {"shape": list(shape), "dtype": dtype.name, **run.places}


def sampled_weights(config: Mapping[str, Any]) -> str:
    """'ema' where the run samples with a moving average of its weights, else 'raw'."""
    return "ema" if config["method"].get("ema_decay") else "raw"


def with_config(run: Run, folder: Path, config: Mapping[str, Any]) -> Run:
    """Another run on the same data, whose config differs in its seed and in numbers."""
    experiment = configs.experiment(config)
    method = experiment.plan.wire(run.dataset.shape)
    return run._replace(folder=folder, config=config, experiment=experiment, method=method)


def _checked_side(dataset: sources.DataSet, side: int) -> int:
    number = sum(len(examples.label) for examples in dataset.splits.values())
    bytes_ = number * side**2 * dataset.shape[-1]
    if bytes_ > (has := machine.memory().total):
        raise BadInput(
            f"config.data.pad_to={side} would make {memory.shown(bytes_)} of {dataset.name}; this "
            f"machine has {memory.shown(has)} of memory."
        )
    return side


def chunk_shapes(run: Run, feed: pipeline.Feed) -> tuple[Any, ...]:
    """Shapes of the arguments of a chunk of steps, see `loop.Program`.

    Args:
        feed: the run's batches.

    Raises:
        BadInput: they alone do not fit into memory.
    """
    state = jax.eval_shape(run.method.init, run.key)
    steps = min(run.experiment.every.log, run.experiment.steps)
    numbers, rows = jax.ShapeDtypeStruct((steps,), np.int32), _rows(run, feed, steps)
    shapes = state, numbers, rows, feed.resident, run.key
    _check_fits(run, _parts(shapes))
    return shapes


def check_memory(run: Run, feed: pipeline.Feed, traced: Any = None) -> None:
    """Refuse a run that cannot fit into memory, before anything is compiled or written.

    Args:
        feed: its batches.
        traced: its chunk of steps, traced with `chunk_shapes`; None: it is traced here.

    Raises:
        BadInput: it holds more at once than there is; names the largest size in the config. Or
            what is traced raises it.
    """
    shapes = chunk_shapes(run, feed)
    program: Any = loop.program(run.method, feed, donate=True)
    every = [traced or program.trace(*shapes), *_trace_eval_fns(run, shapes[0])]
    found = max(map(memory.largest, every), key=lambda array: array.bytes)
    _check_fits(run, _parts(shapes) | {f"an array {found.words}": found.bytes})


def _parts(shapes: tuple[Any, ...]) -> dict[str, int]:
    state, numbers, rows, resident, _ = shapes
    return {
        "its state": memory.total(state),
        f"the rows of {len(numbers):,} steps": memory.total(rows),
        "its data": memory.total(resident),
    }


def _check_fits(run: Run, parts: Mapping[str, int]) -> None:
    if (needs := sum(parts.values())) > (has := memory.there()):
        words = ", ".join(f"{word} {memory.shown(size)}" for word, size in parts.items())
        raise BadInput(
            f"{_largest_size(run.config)} is the largest size in a config whose run needs "
            f"{memory.shown(needs)} of memory at once ({words}); there are {memory.shown(has)}."
        )


def _rows(run: Run, feed: pipeline.Feed, steps: int) -> PyTree:
    """The shapes of what these steps eat, see `Feed.rows`."""
    shape = (steps, run.method.draws, run.experiment.batch_size)
    index, x = jax.ShapeDtypeStruct(shape, np.int32), run.dataset.splits["train"].x
    if feed.resident != ():
        return index
    images: Any = jax.ShapeDtypeStruct((*shape, *x.shape[1:]), x.dtype)
    return sources.Examples(images, index)  # type: ignore[arg-type]


def _trace_eval_fns(run: Run, state: PyTree) -> list[Any]:
    """Trace the terms of a batch and, where the method has them, samples and reconstructions."""
    fns, number = run.eval_fns, min(AT_ONCE, len(run.dataset.splits["train"].label))
    found = [_traced(fns.terms, state, 0, _batch_shape(run, number), run.key)]
    if fns.sample is not None:
        found.append(_traced(fns.sample, state, run.key))
    if fns.reconstruct is not None:
        found.append(_traced(fns.reconstruct, state, _batch_shape(run, PAIRS)))
    return found


def _batch_shape(run: Run, number: int) -> Batch:
    x = jax.ShapeDtypeStruct((number, *run.dataset.shape), np.float32)
    return Batch(x, jax.ShapeDtypeStruct((number,), np.int32))  # type: ignore[arg-type]


def _traced(look: Any, *inputs: PyTree) -> Any:
    """Trace a function; a partial of a jitted one keeps the trace for its later call."""
    jitted: Any = look.func if isinstance(look, partial) else jax.jit(look)
    return jitted.trace(*getattr(look, "args", ()), *inputs)


def _largest_size(config: Mapping[str, Any]) -> str:
    found = {}
    for key, value in workdir.flatten(config).items():
        sizes = value if isinstance(value, list | tuple) else [value]
        if key not in COUNTS and sizes and all(type(size) is int for size in sizes):
            found[key] = max(sizes)
    key = max(found, key=lambda name: found[name])
    return f"config.{key}={workdir.flatten(config)[key]}"


def _check_classes(classes: int, dataset: sources.DataSet) -> None:
    if not classes:
        return
    every = [examples.label for examples in dataset.splits.values()]
    found = max(int(label.max()) for label in every) + 1
    unknown = sum(int((label < 0).sum()) for label in every)
    if found <= 1 or unknown:
        has = "none" if found <= 1 else f"{unknown:,} without one"
        raise BadInput(
            f"config.method.classes={classes} needs a label with each example; {dataset.name} has "
            f"{has}; config.method.classes=0 looks at no labels."
        )
    if found > classes:
        raise BadInput(
            f"config.method.classes={classes} must be at least {found}, the classes of "
            f"{dataset.name}, or 0 for none."
        )


def finished(
    folder: Path, config: Mapping[str, Any], may_change: Callable[[str], bool] = lambda key: False
) -> bool:
    """Return whether the folder's run has ended well, without loading its data.

    Args:
        may_change: see `Run`.

    Raises:
        BadInput: the folder belongs to another config.
        Diverged: the run has diverged.
    """
    if not workdir.check_config(folder, config, may_change):
        return False
    if (record := evidence.diverged(folder)) is not None:
        raise Diverged(record["first"], record["last"], evidence.said(folder, record))
    if workdir.changed(folder, config) or not (folder / SUMMARY).exists():
        return False
    found = summary(folder)
    if found is None or found["steps"] != config.get("steps"):
        print(
            f"{folder / SUMMARY} is not what a run writes at its end: it is written anew.",
            file=sys.stderr,
        )
        return False
    return True


def summary(folder: Path) -> dict[str, Any] | None:
    """The final figures of the folder's run; None where it has none that a run has written."""
    try:
        found = workdir.read_json(folder / SUMMARY)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and type(found.get("steps")) is int else None


def collapsed(folder: Path) -> int | None:
    """The step after which the samples were all alike; None where they were not."""
    try:
        found = workdir.read_json(folder / COLLAPSED)
    except (OSError, ValueError):
        return None
    step = found.get("step") if isinstance(found, dict) else None
    return step if type(step) is int else None


def config(folder: Path) -> dict[str, Any]:
    """The config of the run that a folder holds.

    Raises:
        BadInput: it holds none.
    """
    try:
        found = workdir.read_json(folder / workdir.CONFIG)
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        why = "" if folder.is_dir() else " (there is no such folder)"
        raise BadInput(
            f"workdir={str(folder)!r} holds no run: no readable {workdir.CONFIG} in it{why}."
        )
    found = workdir.without_history(found)
    plugins.check_outside(found, folder)
    return found


def reopen(
    folder: Path,
    data_dir: str | None,
    manual_dir: str | None,
    dataset: sources.DataSet | None = None,
    method: Method | None = None,
    lazily: bool = False,
) -> Run:
    """The run that a folder holds, finished or not, with the data that it began with.

    Args:
        data_dir, manual_dir: see `sources.load`; None: the folders of the last training.
        dataset, method: see `load`.
        lazily: read the data when the first split is asked for; a run of 0.1.0 reads them at once.

    Raises:
        BadInput: it holds none, or as for `load`; lazily, of the data when they are read.
    """
    known, found = workdir.described(folder), config(folder)

    @cache
    def whole() -> Run:
        run = load(
            folder,
            found,
            data_dir or known.get("data_dir"),
            manual_dir or known.get("manual_dir"),
            dataset,
            method,
        )
        workdir.same_data(folder, run.identity())
        return run

    if not lazily or not known:
        return whole()
    experiment = configs.experiment(found)
    shape, dtype = tuple(known["shape"]), np.dtype(known["dtype"])
    lazy = sources.LazySplits(shape, dtype, lambda: whole().dataset.splits)
    unread = sources.DataSet(experiment.data.name, "", "not yet read", lazy)
    run = _described(folder, found, experiment, unread, method)
    return run._replace(identity=lambda: whole().identity())


def restore(run: Run, step: int | None, among: str = workdir.CHECKPOINTS) -> tuple[int, PyTree]:
    """(updates done, state) of checkpoint `step`, or of the newest; also while the run trains.

    Args:
        among: the folder of checkpoints in the workdir.

    Raises:
        BadInput: there is no such checkpoint.
        Damaged: it is not what was saved.
    """
    if not (run.folder / among).is_dir():
        raise BadInput(f"workdir={str(run.folder)!r} has no checkpoint yet.")
    like = jax.eval_shape(run.method.init, run.key)
    with Checkpoints(run.folder / among, read_only=True) as checkpoints:
        if step is not None:
            return checkpoints.restore(step, like)[:2]
        found = checkpoints.newest(like, lambda line: print(line, file=sys.stderr))
    if found is None:
        raise BadInput(f"workdir={str(run.folder)!r} has no checkpoint yet.")
    return found[:2]


def feed_of(run: Run, mesh: Mesh | None = None) -> pipeline.Feed:
    """The batches that the run trains on.

    Args:
        mesh: of the devices that share each batch; None for one device.

    Raises:
        BadInput: there are fewer examples than a batch has, or the devices cannot have equal
            shares of it.
    """
    return pipeline.feed(
        run.dataset.splits["train"],
        run.experiment.data.preprocess,
        run.experiment.batch_size,
        run.method.draws,
        run.key,
        place=place(mesh, run.experiment.batch_size),
    )


def rows_of(run: Run, feed: pipeline.Feed) -> Callable[[int, int], PyTree]:
    """`Feed.rows` of the run, for whoever has on the device what it reads from already."""
    if feed.resident == ():
        return feed_of(run).rows
    n, size = len(run.dataset.splits["train"].label), run.experiment.batch_size
    return pipeline.indices(run.key, n, size, run.method.draws)


def sampler(run: Run) -> Callable[[PyTree], Array]:
    """state -> the samples that pictures show, always of the same codes.

    Raises:
        BadInput: the method has none.
    """
    draw, key = run.eval_fns.sample, named_key(run.key, "pictures")
    if draw is None:
        raise BadInput("this method generates nothing.")
    return lambda state: draw(state, key)
