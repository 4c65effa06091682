"""Former names in configs: the one table that keeps old configs and workdirs readable.

Configs are compared, written and read with today's names; hashes are over the first release's, so
that a result or a run from before a name changed keeps its hash.
"""

import json
from collections.abc import Mapping
from typing import Any

from latentgen.core.errors import BadInput

KEYS = {"method.game": "method.loss", "middle": "code_network"}
"""Former key, or the beginning of former keys -> today's."""

VALUES: dict[str, dict[str, str]] = {
    "condition": {"beside": "concat"},
    "init": {"wide_end": "titsias"},
    "name": {"rmsprop_outside": "rmsprop_torch"},
    "schedule": {"stairs": "staircase"},
}
"""The last part of a key -> {former value: today's}."""


def current_key(key: str) -> str:
    """Today's name of a key: 'method.loss' for 'method.game', others as they are."""
    return _renamed(key, KEYS)


def former_key(key: str) -> str:
    """The first release's name of a key."""
    return _renamed(key, {new: old for old, new in KEYS.items()})


def current(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config under today's names.

    Raises:
        BadInput: it has a key under its former and under its present name.
    """
    return _translated(config, KEYS, VALUES, "")


def former(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config under the names of the first release, for hashes only."""
    keys = {new: old for old, new in KEYS.items()}
    values = {key: {new: old for old, new in of.items()} for key, of in VALUES.items()}
    return _translated(config, keys, values, "")


def text(config: Mapping[str, Any]) -> bytes:
    """What hashes of a config are over: sorted JSON under the first release's names."""
    return json.dumps(former(config), sort_keys=True).encode()


def _renamed(key: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        if key == old or key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    return key


def _translated(
    config: Mapping[str, Any],
    keys: Mapping[str, str],
    values: Mapping[str, Mapping[str, str]],
    path: str,
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in config.items():
        new = _renamed(f"{path}{name}", keys)
        last = name if new == f"{path}{name}" else new.rpartition(".")[2]
        if last != name and last in config:
            raise BadInput(f"config.{path}{name} is now config.{new}; the config has both.")
        if isinstance(value, Mapping):
            found[last] = _translated(value, keys, values, f"{path}{name}.")
        else:
            known = values.get(last, {})
            found[last] = known.get(value, value) if isinstance(value, str) else value
    return found
