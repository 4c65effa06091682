"""What every command shares: flags in, mistakes told in one line, a trained run opened again."""

import json
import runpy
import sys
import traceback
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from latentgen import build
from latentgen.build import Experiment
from latentgen.core.types import Method, PyTree
from latentgen.data import sources
from latentgen.data.preprocess import Preprocess, preprocess_for
from latentgen.errors import BadInput, nearest
from latentgen.training import workdir
from latentgen.training.checkpoint import Checkpoints, Damaged
from latentgen.training.loop import Stopped

FLAGS = flags.FLAGS
EXIT_BAD_INPUT, EXIT_DAMAGED = 2, 3


def define_config_flag() -> None:
    """`--config FILE[:variant]`, and `--config.a.b=value` for each of its keys."""
    config_flags.DEFINE_config_file("config", help_string="A file: experiments/vae.py[:variant].")


def define_data_flags() -> None:
    """Where data sets are, on this machine: no part of a run's identity."""
    flags.DEFINE_string(
        "data_dir", None, "Where TFDS keeps prepared data sets (default: TFDS's own)."
    )
    flags.DEFINE_string("manual_dir", None, "A folder with a data set's original files.")


def run(main: Callable[[], None], parse: Callable[[list[str]], None] | None = None) -> None:
    """Runs a command: its mistakes and its end are told in one line.

    Exit codes: 2 for bad input, 3 for a damaged checkpoint, 128 + n after signal n.

    Args:
        main: the command; its flags are defined.
        parse: looks at the arguments before all flags are parsed.
    """

    def guarded(argv: Sequence[str]) -> None:
        try:
            if len(argv) > 1:
                raise BadInput(f"{argv[1]!r} is not a flag; write flags as --name=value.")
            main()
        except BadInput as error:
            _refuse(str(error))
        except Damaged as error:
            _refuse(str(error), EXIT_DAMAGED)
        except Stopped as stop:
            print(f"{stop}; the same command continues.", file=sys.stderr)
            sys.exit(128 + stop.signum)

    def parse_flags(argv: list[str]) -> list[str]:
        try:
            if parse is not None:
                parse(argv)
            rest = FLAGS(argv)
            if not FLAGS["verbosity"].present:  # absl's own default chats
                logging.set_verbosity(logging.WARNING)
            return rest
        except BadInput as error:
            return _refuse(str(error))
        except flags.Error as error:
            return _refuse(next(iter(str(error).splitlines()), type(error).__name__))

    app.run(guarded, flags_parser=parse_flags)


def _refuse(line: str, code: int = EXIT_BAD_INPUT) -> Any:
    print(f"error: {' '.join(line.split())}", file=sys.stderr)
    sys.exit(code)


def check_config(argv: list[str]) -> None:
    """Looks at `--config` and its overrides before absl does, to tell mistakes in words.

    Raises:
        BadInput: the file is missing or fails, or an override names no key of it.
    """
    if any(word.lstrip("-").startswith("help") for word in argv[1:]):
        return
    names = [value for word, value in pairwise([*argv[1:], ""]) if word in ("--config", "-config")]
    names += [w.partition("=")[2] for w in argv[1:] if w.startswith(("--config=", "-config="))]
    if not names or not names[-1]:
        raise BadInput("--config is missing: name a file such as experiments/vae.py.")
    keys = workdir.flatten(_load(names[-1]))
    sections = {key.rpartition(".")[0] for key in keys}
    for word in argv[1:]:
        if word.startswith(("--config.", "-config.")):
            key = word.partition("=")[0].partition(".")[2]
            if key not in keys and key not in sections:
                raise BadInput(f"--config.{key} is not a key of the config{nearest(key, keys)}")


def _load(name: str) -> dict[str, Any]:
    """What get_config of 'file.py[:variant]' returns."""
    file, *variant = name.split(":", 1)
    if not Path(file).is_file():
        raise BadInput(f"--config={name!r}: there is no file {file!r}.")
    try:
        return dict(runpy.run_path(file)["get_config"](*variant).to_dict())
    except BadInput as error:
        raise BadInput(f"--config={name!r}: {error}") from None
    except Exception as error:  # a file of the user's: anything may be wrong with it
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise BadInput(
            f"--config={name!r} fails with {type(error).__name__}: {error} "
            f"({Path(where.filename).name}, line {where.lineno})."
        ) from None


def read_config() -> tuple[dict[str, Any], Experiment]:
    """The config as plain JSON data, and what it describes.

    Raises:
        BadInput: see `build.experiment`.
    """
    config = json.loads(json.dumps(FLAGS.config.to_dict()))
    return config, build.experiment(config)


def default_workdir() -> str:
    """'runs/gan' for experiments/gan.py, 'runs/gan-minimax' for experiments/gan.py:minimax."""
    file, _, variant = config_flags.get_config_filename(FLAGS["config"]).partition(":")
    return str(Path("runs", "-".join(filter(None, (Path(file).stem, variant)))))


def load_data(experiment: Experiment) -> sources.DataSet:
    """The experiment's data set, checked against its preprocessing.

    Raises:
        BadInput: it is unknown, missing or damaged, or does not fit.
    """
    name, preprocess, validation = experiment.data
    dataset = sources.load(
        name, validation=validation, data_dir=FLAGS.data_dir, manual_dir=FLAGS.manual_dir
    )
    preprocess_for(preprocess.name, dataset.splits["train"].x.dtype)
    sizes = ", ".join(f"{len(e.label):,} {split}" for split, e in dataset.splits.items())
    print(f"data: {name} ({dataset.origin}): {sizes}", file=sys.stderr)
    return dataset


def shape_of(dataset: sources.DataSet) -> tuple[int, ...]:
    """The shape of one example."""
    return tuple(dataset.splits["train"].x.shape[1:])


def examples(
    split: sources.Examples, indices: np.ndarray, preprocess: Preprocess, key: jax.Array
) -> jax.Array:
    """These examples of a split, as a method sees them."""
    return preprocess.forward(jnp.asarray(split.x.take(indices, axis=0)), key)


class Trained(NamedTuple):
    """A run's workdir, read back: also of one that is still training."""

    config: dict[str, Any]
    experiment: Experiment
    dataset: sources.DataSet
    method: Method
    step: int
    state: PyTree


def open_trained() -> Trained:
    """What --workdir holds, at the checkpoint --step or the newest.

    Raises:
        BadInput: there is no such run or checkpoint.
    """
    if FLAGS.workdir is None:
        raise BadInput("--workdir is missing: name the folder of a run.")
    folder = Path(FLAGS.workdir)
    try:
        config = workdir.read_json(folder / workdir.CONFIG)
    except (OSError, ValueError):
        raise BadInput(
            f"--workdir={str(folder)!r} holds no run: no readable {workdir.CONFIG} in it."
        ) from None
    if not (folder / workdir.CHECKPOINTS).is_dir():
        raise BadInput(f"--workdir={str(folder)!r} has no checkpoint yet.")
    experiment = build.experiment(config)
    dataset = load_data(experiment)
    method = experiment.wire(shape_of(dataset))
    like = jax.eval_shape(method.init, jax.random.key(0))
    with Checkpoints(folder / workdir.CHECKPOINTS, read_only=True) as saved:
        step, state, _ = saved.restore(FLAGS.step, like)
    return Trained(config, experiment, dataset, method, step, state)


def define_trained_flags() -> None:
    """The flags of a command that looks at a run."""
    flags.DEFINE_string("workdir", None, "The folder of a finished or running run.")
    flags.DEFINE_integer("step", None, "Which checkpoint (default: the newest).", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "Of the random numbers that this command draws.")
    define_data_flags()
