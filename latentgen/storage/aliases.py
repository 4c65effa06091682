"""Former names of config keys and values, which keep old configs and workdirs readable.

Configs are read, compared and written under the current names. Hashes are computed under the names
of the first release, so that renaming a key does not change the hash of an old run or result.
"""

import json
from collections.abc import Mapping
from typing import Any

from latentgen.core.errors import BadInput

KEYS = {"method.game": "method.loss", "middle": "code_network"}
"""Former key, or prefix of former keys -> current name."""

VALUES: dict[str, dict[str, str]] = {
    "condition": {"beside": "concat"},
    "init": {"wide_end": "titsias"},
    "name": {"rmsprop_outside": "rmsprop_torch"},
    "schedule": {"stairs": "staircase"},
}
"""Last part of a key -> {former value: current value}."""


def current_key(key: str) -> str:
    """Return a key's current name: 'method.loss' for 'method.game'."""
    return _renamed(key, KEYS)


def former_key(key: str) -> str:
    """Return a key's name in the first release."""
    return _renamed(key, {new: old for old, new in KEYS.items()})


def current(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config under the current names.

    Raises:
        BadInput: it has a key under both its former and its current name.
    """
    return _translated(config, KEYS, VALUES, "")


def former(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config under the names of the first release, for hashing only."""
    keys = {new: old for old, new in KEYS.items()}
    values = {key: {new: old for old, new in of.items()} for key, of in VALUES.items()}
    return _translated(config, keys, values, "")


def text(config: Mapping[str, Any]) -> bytes:
    """Return the bytes to hash of a config: sorted JSON under the first release's names."""
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
    translated: dict[str, Any] = {}
    for name, value in config.items():
        new = _renamed(f"{path}{name}", keys)
        last = name if new == f"{path}{name}" else new.rpartition(".")[2]
        if last != name and last in config:
            raise BadInput(f"config.{path}{name} is now config.{new}; the config has both.")
        if isinstance(value, Mapping):
            translated[last] = _translated(value, keys, values, f"{path}{name}.")
        else:
            known = values.get(last, {})
            translated[last] = known.get(value, value) if isinstance(value, str) else value
    return translated
