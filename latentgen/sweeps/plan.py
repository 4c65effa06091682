"""The members of a sweep: what each changes, its whole config, the name that follows."""

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
from latentgen.storage import aliases
from latentgen.storage.workdir import flatten
from latentgen.sweeps.vocabulary import Row

LONGEST = 80  # characters of a name before its hash


class Member(NamedTuple):
    """One run of a sweep.

    run: its name: what it changes, its seed, and a hash of its config
    setting: the same without the seed: the members of a setting differ in nothing else
    changes: key of the config -> value, without the seed
    config: the whole of it, as plain data
    """

    run: str
    setting: str
    seed: int
    changes: Mapping[str, Any]
    config: Mapping[str, Any]


def members(base: ConfigDict, rows: Iterable[Row]) -> list[Member]:
    """The runs that these rows make of a config, in order, each once.

    Raises:
        BadInput: there is none; a row names no key of the config, gives one a value of another
            kind, or makes a config that describes nothing.
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
            raise BadInput(f"{_said(row)}: {error}") from None
        member = named({key: row[key] for key in keys if key in row}, config, short)
        found[member.run] = member
    return list(found.values())


def _said(row: Mapping[str, Any]) -> str:
    return "the run " + ", ".join(f"{key}={value}" for key, value in row.items())


def _stripped(row: Row) -> dict[str, Any]:
    for key in row:
        if not key.startswith("config."):
            raise BadInput(f"{key!r} must begin with 'config.', as on the command line.")
    return {aliases.current_key(key.removeprefix("config.")): v for key, v in row.items()}


def changed(base: ConfigDict, row: Mapping[str, Any]) -> dict[str, Any]:
    """`base` as plain data, with these values in place of its own.

    Raises:
        BadInput: a key is unknown, or its value is of another kind.
    """
    config = copy.deepcopy(base)
    valid = flatten(base.to_dict())
    for key, value in row.items():
        if key not in valid:
            alike = [name for name in valid if name.split(".")[-1] == key.split(".")[-1]]
            hint = f"; did you mean {alike[0]!r}?" if alike else nearest(key, valid)
            raise BadInput(f"config.{key} is not a key of the config{hint}")
        value = tuple(value) if isinstance(value, list) else value
        try:
            config.update_from_flattened_dict({key: value})
        except (TypeError, ValueError):
            kind = type(valid[key]).__name__
            raise BadInput(f"config.{key}={value!r} must be of the kind {kind}.") from None
    return plain(config.to_dict())


def applied(base: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data with these values in place of its own; the keys are known to be there."""
    config = json.loads(json.dumps(base))
    for key, value in row.items():
        *path, last = key.split(".")
        section = config
        for name in path:
            section = section[name]
        section[last] = value
    return plain(config)


def shortened(keys: Sequence[str]) -> dict[str, str]:
    """Each key by as much of its end as tells it from the others."""

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


def _word(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return re.sub(r"[^\w.+-]+", "_", text).strip("_")


def named(
    changes: Mapping[str, Any], config: Mapping[str, Any], short: Mapping[str, str]
) -> Member:
    """The member of this config, whose names say what it changes.

    Args:
        short: how keys are spelled in names.
    """
    seed = config["seed"]
    words = [f"{short[key]}={_word(value)}" for key, value in changes.items()]
    fits = [",".join(words[:n]) for n in range(1, len(words) + 1)]
    shown = max((n for n, text in enumerate(fits, 1) if len(text) <= LONGEST), default=0)
    more = [f"+{len(words) - shown}"] if shown < len(words) else []
    said = ",".join([*words[:shown], *more]) or "base"
    rest = {key: value for key, value in config.items() if key != "seed"}
    flat = LATER | flatten(config)
    kept = {key: flat[key] for key in changes}  # as JSON has it
    return Member(f"{said},s={seed}-{_hash(config)}", f"{said}-{_hash(rest)}", seed, kept, config)
