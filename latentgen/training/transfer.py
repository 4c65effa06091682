"""Initialization with the weights of another run, and continuation with a changed config."""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from latentgen.configs.section import LATER
from latentgen.core.errors import BadInput, nearest
from latentgen.core.types import PyTree
from latentgen.storage import provenance, workdir
from latentgen.storage.checkpoint import Checkpoints, by_path
from latentgen.training import setup
from latentgen.training.setup import Run

FURTHER = re.compile(r"^more\.\d+\.")
"""Prefix of the key path of a further average, see `wrappers.Averaged`."""

NEVER = ("data.", "method.name")
"""Prefixes of config keys that cannot change within a run; see `init_from` for a new run."""


def may_change(extend: bool, allowed: Collection[str], config: Mapping[str, Any]) -> Callable:
    """Make the predicate key -> True if a continued run may have another value of this key.

    Args:
        extend: allow `steps` and `every.*`: the run's length and its intervals.
        allowed: further keys, such as `optimizer.lr`.
        config: of the run.

    Raises:
        BadInput: one of `allowed` is no key of the config, or is in `NEVER`.
    """
    keys = LATER | workdir.flatten(config)
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
    """Initialize a run with the weights of another one; the optimizer state is new.

    Moving averages begin as those of the other run, or as its weights if it has none.

    Args:
        source: 'DIR' or 'DIR:STEP', the other run's folder and checkpoint.
        players: 'NAME', or 'NAME=THEIRS' if the player has another name in the other run; empty
            for all players.

    Returns:
        The run with `weights` and `origin`.

    Raises:
        BadInput: there is no such checkpoint, or a player's weights have other shapes.
        Damaged: the checkpoint is damaged.
    """
    folder, number = _parse_source(source)
    source_config = setup.config(folder)
    with Checkpoints(folder / workdir.CHECKPOINTS, read_only=True) as saved:
        step = saved.latest() if number is None else number
        if step is None:
            raise BadInput(f"--init_from={source!r}: the folder has no checkpoint yet.")
        _, source_leaves, _ = saved.restore(step, saved.shapes(step))
    leaves = by_path(run.state)
    names = _parse_players(players, leaves)
    has_ema, source_has_ema = _has_ema(leaves), _has_ema(source_leaves)
    weights = {}
    for path, leaf in leaves.items():
        if (source_path := _source_path(path, names, has_ema, source_has_ema)) is not None:
            weights[path] = _checked_leaf(path, leaf, source_leaves.get(source_path))
    origin = {
        "workdir": str(folder),
        "step": step,
        "players": names,
        "config_sha256": provenance.config_hash(source_config),
        "weights_sha256": _sha256(weights),
    }
    return run._replace(weights=weights, origin=origin)


def check_origin(folder: Path, source: str | None) -> None:
    """Check that a finished run began with the weights of `init_from`, if that is given.

    Raises:
        BadInput: it did not.
    """
    if source is None:
        return
    began = (workdir.origin(folder) or {}).get("workdir")
    if began != str(_parse_source(source)[0]):
        raise BadInput(
            f"--init_from={source!r}: the run in {str(folder)!r} is finished and began with "
            f"{'random weights' if began is None else f'those of {began}'}; name another workdir."
        )


def begun(run: Run, state: PyTree) -> PyTree:
    """Replace leaves of a new run's state by the weights of `init_from`, if any.

    Raises:
        BadInput: the folder's run began with such weights, but this run has none.
    """
    if run.weights is None:
        if (origin := workdir.origin(run.folder)) is not None:
            source = f"{origin.get('workdir')}:{origin.get('step')}"
            raise BadInput(
                f"workdir={str(run.folder)!r} has no checkpoint yet and began with the weights of "
                f"{source}; say --init_from={source} again."
            )
        return state
    leaves = [
        jnp.array(run.weights[path]) if path in run.weights else leaf
        for path, leaf in by_path(state).items()
    ]
    return jax.tree.unflatten(jax.tree.structure(state), leaves)


def scheduled(config: Mapping[str, Any]) -> list[str]:
    """List the config's schedules that depend on the length of the run, as KEY=VALUE."""
    return [
        f"config.{key}={value!r}"
        for key, value in workdir.flatten(config).items()
        if key.rpartition(".")[2] == "schedule" and value != "constant"
    ]


def _parse_source(source: str) -> tuple[Path, int | None]:
    """Split 'DIR:STEP' into folder and step; the step is None for 'DIR'."""
    name, colon, number = source.rpartition(":")
    if colon and number.isdecimal() and not Path(source).exists():
        return Path(name), int(number)
    return Path(source), None


def _has_ema(leaves: Mapping[str, Any]) -> bool:
    """Return whether the state has an EMA of its parameters (`core.wrappers.Averaged`)."""
    return any(path.startswith("state.") for path in leaves)


def _parse_players(players: Collection[str], leaves: Mapping[str, Any]) -> dict[str, str]:
    """Map each player to initialize to the player of the other run whose weights it gets."""
    own = dict.fromkeys(
        path.removeprefix("state.").split(".")[1]
        for path in leaves
        if path.removeprefix("state.").startswith("params.")
    )
    pairs = (player.partition("=") for player in players)
    names = {name: source_name or name for name, _, source_name in pairs}
    if unknown := [name for name in names if name not in own]:
        raise BadInput(f"--players={unknown[0]} is no player here; valid: {', '.join(own)}.")
    return names or {name: name for name in own}


def _source_path(
    path: str, names: Mapping[str, str], has_ema: bool, source_has_ema: bool
) -> str | None:
    """Return the key path in the other state for a leaf of this one; None for a leaf to keep.

    Args:
        names: see `_parse_players`.
        has_ema: True if this state has moving averages.
        source_has_ema: True if the other state has.
    """
    path = FURTHER.sub("", path)  # further averages begin as the evaluated one
    part, player, *rest = path.removeprefix("state.").split(".", 2)
    if part not in ("params", "stats") or player not in names:
        return None
    is_average = has_ema and not path.startswith("state.")
    prefix = "state." if source_has_ema and not is_average else ""
    return prefix + ".".join([part, names[player], *rest])


def _checked_leaf(path: str, leaf: Any, source_leaf: Any) -> np.ndarray:
    def dtype_and_shape(x: Any) -> str:
        return "missing" if x is None else f"{np.dtype(x.dtype)}{tuple(x.shape)}"

    if dtype_and_shape(source_leaf) != dtype_and_shape(leaf):
        raise BadInput(
            f"--init_from: {path.removeprefix('state.').partition('.')[2]} is "
            f"{dtype_and_shape(source_leaf)} there and {dtype_and_shape(leaf)} here; name the "
            "--players that fit."
        )
    return np.asarray(source_leaf)


def _sha256(weights: Mapping[str, np.ndarray]) -> str:
    sha = hashlib.sha256()
    for path, x in sorted(weights.items()):
        sha.update(f"{path} {x.dtype} {x.shape} ".encode() + np.ascontiguousarray(x).tobytes())
    return sha.hexdigest()
