"""Choice of the checkpoint and of the weights with which a trained run is looked at."""

from latentgen.core.errors import BadInput, choose
from latentgen.core.types import PyTree
from latentgen.core.wrappers import with_further_average, with_raw_params
from latentgen.storage import workdir
from latentgen.training.setup import Run, restore, sampled_weights

NEWEST = "newest"
KINDS = (NEWEST, workdir.BEST)
"""Checkpoints that a run is looked at from."""


def restore_kind(
    run: Run, step: int | None, kind: str = NEWEST, flags: tuple[str, str] = ("step", "checkpoint")
) -> tuple[int, PyTree]:
    """Restore checkpoint `step` of the run, or its newest or best one; see `restore`.

    Args:
        kind: one of KINDS.
        flags: names of `step` and `kind`, for messages.

    Raises:
        BadInput: there is no such checkpoint, or both a step and the best one are wanted.
    """
    choose(flags[1], kind, dict.fromkeys(KINDS))
    if kind == NEWEST:
        return restore(run, step)
    if step is not None:
        raise BadInput(f"{flags[0]}={step} and {flags[1]}='best' name two checkpoints; name one.")
    if not (run.folder / workdir.BEST).is_dir():
        raise BadInput(
            f"workdir={str(run.folder)!r} has no best checkpoint: config.every.evaluate="
            f"{run.experiment.evaluate.every} is the interval at which one is chosen."
        )
    return restore(run, None, workdir.BEST)


def with_weights(
    run: Run, state: PyTree, weights: str | None, flag: str = "weights"
) -> tuple[str, PyTree]:
    """Choose the weights that a run is looked at with.

    Args:
        weights: 'ema', the average that is sampled; 'raw', those of the last step; a number of
            `config.method.ema_more`, that average; None: those that are sampled.
        flag: name of `weights`, for messages.

    Returns:
        The name of the weights, and the state that has them in place of the evaluated ones.

    Raises:
        BadInput: the run keeps no such average.
    """
    sampled, more = sampled_weights(run.config), run.config["method"].get("ema_more", [])
    names = [*(["ema"] if sampled == "ema" else []), "raw", *(f"{number:g}" for number in more)]
    chosen = weights if weights in (None, "ema", "raw") else _plain_number(weights)
    if chosen is not None and chosen not in names:
        raise BadInput(
            f"{flag}={weights!r}: this run keeps no such average (config.method.ema_decay, "
            f"ema_images and ema_more say which). Valid: {', '.join(names)}."
        )
    if chosen == "raw":
        return chosen, with_raw_params(state)
    if chosen not in (None, "ema"):
        return chosen, with_further_average(state, [f"{number:g}" for number in more].index(chosen))
    return sampled, state


def _plain_number(text: str) -> str:
    try:
        return f"{float(text):g}"
    except ValueError:
        return text
