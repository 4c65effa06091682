"""The members of a sweep: the changes of each, its full config, its name."""

import contextlib
import copy
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from latentgen import configs
from latentgen.configs.section import LATER, plain
from latentgen.core.errors import BadInput, nearest
from latentgen.core.schedules import is_schedule
from latentgen.storage import aliases
from latentgen.storage.workdir import flatten
from latentgen.sweeps.vocabulary import Row

LONGEST = 80  # characters of a name before its hash


class Member(NamedTuple):
    """One run of a sweep.

    run: name of the run: its changes, its seed, and a hash of its config
    setting: the same without the seed; members of a setting differ only in their seed
    changes: key of the config -> value, without the seed
    config: the full config, as plain data
    """

    run: str
    setting: str
    seed: int
    changes: Mapping[str, Any]
    config: Mapping[str, Any]


def members(base: ConfigDict, rows: Iterable[Row]) -> list[Member]:
    """Make the members of these rows, in order and without duplicates.

    Raises:
        BadInput: there are no rows; or a row has an unknown key, a value of another type, or makes
            an invalid config.
    """
    changes = [_stripped(row) for row in rows]
    if not changes:
        raise BadInput("the sweep is empty: it has no run.")
    keys = list(dict.fromkeys(key for row in changes for key in row if key != "seed"))
    short = shortened(keys)
    found: dict[str, Member] = {}
    for row in changes:
        config = changed(base, row)
        try:
            configs.experiment(config)
        except BadInput as error:
            raise BadInput(f"{_describe(row)}: {error}") from None
        member = named({key: row[key] for key in keys if key in row}, config, short)
        found[member.run] = member
    return list(found.values())


def _describe(row: Mapping[str, Any]) -> str:
    return "the run " + ", ".join(f"{key}={value}" for key, value in row.items())


def _stripped(row: Row) -> dict[str, Any]:
    for key in row:
        if not key.startswith("config."):
            raise BadInput(f"{key!r} must begin with 'config.', as on the command line.")
    return {aliases.current_key(key.removeprefix("config.")): v for key, v in row.items()}


def _is_hyperparameter(value: Any) -> bool:
    """Return whether a value is a number with a fraction or a schedule."""
    return isinstance(value, float) or (isinstance(value, str) and is_schedule(value))


def changed(base: ConfigDict, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` as plain data with the values of `row`.

    Raises:
        BadInput: a key is unknown, or its value is of another type.
    """
    config = copy.deepcopy(base)
    valid = flatten(base.to_dict())
    for key, value in row.items():
        if key not in valid:
            similar = [name for name in valid if name.split(".")[-1] == key.split(".")[-1]]
            hint = f"; did you mean {similar[0]!r}?" if similar else nearest(key, valid)
            raise BadInput(f"config.{key} is not a key of the config{hint}")
        value = tuple(value) if isinstance(value, list) else value
        exchanged = _is_hyperparameter(valid[key]) and _is_hyperparameter(value)
        try:
            with config.ignore_type() if exchanged else contextlib.nullcontext():
                config.update_from_flattened_dict({key: value})
        except (TypeError, ValueError):
            kind = type(valid[key]).__name__
            raise BadInput(f"config.{key}={value!r} must be of the kind {kind}.") from None
    return plain(config.to_dict())


def applied(base: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base`, which is plain data, with the values of `row`; its keys must exist."""
    config = json.loads(json.dumps(base))
    for key, value in row.items():
        *path, last = key.split(".")
        section = config
        for name in path:
            section = section.setdefault(name, {})
        section[last] = value
    return plain(config)


def shortened(keys: Sequence[str]) -> dict[str, str]:
    """Map each key to its shortest suffix that no other key has."""

    def short(key: str) -> str:
        parts = key.split(".")
        for n in range(1, len(parts) + 1):
            end = parts[-n:]
            if sum(other.split(".")[-n:] == end for other in keys) == 1:
                return ".".join(end)
        return key

    return {key: short(key) for key in keys}


def _hash(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(aliases.text(config)).hexdigest()[:8]


def _text(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return re.sub(r"[^\w.+-]+", "_", text).strip("_")


def named(
    changes: Mapping[str, Any], config: Mapping[str, Any], short: Mapping[str, str]
) -> Member:
    """Make the member of this config, with names that list its changes.

    Args:
        short: key -> the short form used in names.
    """
    seed = config["seed"]
    parts = [f"{short[key]}={_text(value)}" for key, value in changes.items()]
    prefixes = [",".join(parts[:n]) for n in range(1, len(parts) + 1)]
    number = max((n for n, text in enumerate(prefixes, 1) if len(text) <= LONGEST), default=0)
    omitted = [f"+{len(parts) - number}"] if number < len(parts) else []
    label = ",".join([*parts[:number], *omitted]) or "base"
    without_seed = {key: value for key, value in config.items() if key != "seed"}
    flat = LATER | flatten(config)
    plain_changes = {key: flat[key] for key in changes}  # as JSON stores it
    return Member(
        f"{label},s={seed}-{_hash(config)}",
        f"{label}-{_hash(without_seed)}",
        seed,
        plain_changes,
        config,
    )
