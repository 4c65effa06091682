"""A run that begins with the weights of another one, and a run that goes on with another config."""

import hashlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from latentgen.core.errors import BadInput, nearest
from latentgen.core.types import PyTree
from latentgen.storage import provenance, workdir
from latentgen.storage.checkpoint import Checkpoints, by_path
from latentgen.training import setup
from latentgen.training.setup import Run

NEVER = ("data.", "method.name")
"""Keys that no run can change: what it would be after is a run of its own, see `init_from`."""


def may_change(extend: bool, allowed: Collection[str], config: Mapping[str, Any]) -> Callable:
    """Key -> whether a run that goes on may have another value of it than it began with.

    Args:
        extend: the length of the run, and the intervals of logs, pictures and checkpoints, may.
        allowed: further keys, as `optimizer.lr`.
        config: of the run.

    Raises:
        BadInput: one of `allowed` is no key of the config, or one that cannot change.
    """
    keys = workdir.flatten(config)
    for key in allowed:
        if key not in keys:
            raise BadInput(f"--allow_change={key} is not a key of the config{nearest(key, keys)}")
        if key.startswith(NEVER):
            raise BadInput(
                f"--allow_change={key}: a run keeps its data and its method; --init_from begins "
                "another run with its weights."
            )
    return lambda key: key in allowed or (extend and (key == "steps" or key.startswith("every.")))


def init_from(run: Run, source: str, players: Collection[str]) -> Run:
    """The run, to begin with the weights of another one; its optimizer is new.

    Moving averages begin as those of the other run, or as its weights where it has none.

    Args:
        source: 'DIR' or 'DIR:STEP', the other run's folder and checkpoint.
        players: 'NAME', or 'NAME=THEIRS' where the other run calls it otherwise; none: all.

    Raises:
        BadInput: there is no such checkpoint, or a player's weights do not fit.
        Damaged: the checkpoint is not what was saved.
    """
    folder, number = _checkpoint(source)
    theirs = setup.config(folder)
    with Checkpoints(folder / workdir.CHECKPOINTS, read_only=True) as saved:
        step = saved.latest() if number is None else number
        if step is None:
            raise BadInput(f"--init_from={source!r}: the folder has no checkpoint yet.")
        _, flat, _ = saved.restore(step, saved.shapes(step))
    like = by_path(jax.eval_shape(run.method.init, run.key))
    names = _players(players, like)
    weights = {}
    for path, leaf in like.items():
        if (where := _source(path, names, _averaged(like), _averaged(flat))) is not None:
            weights[path] = _fitting(path, leaf, flat.get(where))
    origin = {
        "workdir": str(folder),
        "step": step,
        "players": names,
        "config_sha256": provenance.config_hash(theirs),
        "weights_sha256": _digest(weights),
    }
    return run._replace(weights=weights, origin=origin)


def begun(run: Run, state: PyTree) -> PyTree:
    """A new run's state, with the weights that it begins with in their places.

    Raises:
        BadInput: the folder's run began with weights that are not named any more.
    """
    if run.weights is None:
        if (origin := workdir.origin(run.folder)) is not None:
            there = f"{origin.get('workdir')}:{origin.get('step')}"
            raise BadInput(
                f"workdir={str(run.folder)!r} has no checkpoint yet and began with the weights of "
                f"{there}; say --init_from={there} again."
            )
        return state
    leaves = [
        jax.device_put(jnp.array(run.weights[path]), leaf.sharding) if path in run.weights else leaf
        for path, leaf in by_path(state).items()
    ]
    return jax.tree.unflatten(jax.tree.structure(state), leaves)


def scheduled(config: Mapping[str, Any]) -> list[str]:
    """Keys of schedules that are spread over the length of the run."""
    return [
        f"config.{key}={value!r}"
        for key, value in workdir.flatten(config).items()
        if key.rpartition(".")[2] == "schedule" and value != "constant"
    ]


def _checkpoint(source: str) -> tuple[Path, int | None]:
    name, colon, number = source.rpartition(":")
    if colon and number.isdecimal() and not Path(source).exists():
        return Path(name), int(number)
    return Path(source), None


def _averaged(flat: Mapping[str, Any]) -> bool:
    """Return whether the state holds an EMA of its parameters (`core.wrappers.Averaged`)."""
    return any(path.startswith("state.") for path in flat)


def _players(given: Collection[str], like: Mapping[str, Any]) -> dict[str, str]:
    """Player of the new run -> the player of the other run whose weights it takes."""
    there = dict.fromkeys(
        path.removeprefix("state.").split(".")[1]
        for path in like
        if path.removeprefix("state.").startswith("params.")
    )
    names = {name: theirs or name for name, _, theirs in (word.partition("=") for word in given)}
    if unknown := [name for name in names if name not in there]:
        raise BadInput(f"--players={unknown[0]} is no player here; valid: {', '.join(there)}.")
    return names or {name: name for name in there}


def _source(path: str, names: Mapping[str, str], averaged: bool, theirs: bool) -> str | None:
    """The other state's path of the weights for `path`; None for what is not taken over.

    Args:
        names: see `_players`.
        averaged, theirs: whether this state, and the other one, have moving averages.
    """
    part, player, *rest = path.removeprefix("state.").split(".", 2)
    if part not in ("params", "stats") or player not in names:
        return None
    is_average = averaged and not path.startswith("state.")
    prefix = "state." if theirs and not is_average else ""
    return prefix + ".".join([part, names[player], *rest])


def _fitting(path: str, leaf: Any, found: Any) -> np.ndarray:
    def shown(x: Any) -> str:
        return "missing" if x is None else f"{np.dtype(x.dtype)}{tuple(x.shape)}"

    if shown(found) != shown(leaf):
        raise BadInput(
            f"--init_from: {path.removeprefix('state.').partition('.')[2]} is {shown(found)} there "
            f"and {shown(leaf)} here; name the --players that fit."
        )
    return np.asarray(found)


def _digest(weights: Mapping[str, np.ndarray]) -> str:
    sha = hashlib.sha256()
    for path, x in sorted(weights.items()):
        sha.update(f"{path} {x.dtype} {x.shape} ".encode() + np.ascontiguousarray(x).tobytes())
    return sha.hexdigest()
