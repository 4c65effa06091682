"""Configs from files: `experiments/gan.py:dcgan`, or `latentgen:gan:dcgan` from any folder."""

import json
import math
import runpy
import traceback
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from latentgen.core import schedules
from latentgen.core.errors import BadInput, nearest, written
from latentgen.storage.workdir import flatten
from latentgen.system import plugins

PACKAGE = Path(__file__).parents[1]
FOLDERS = (PACKAGE / "recipes", PACKAGE.parent / "experiments")
"""Homes of the recipes in an installed wheel and in a checkout."""

NAMES = ("classifier", "gan", "hybrids", "vae")
PREFIX = "latentgen:"


class Source(NamedTuple):
    """A file with `get_config(variant)`, and the variant asked of it ('' for its default)."""

    file: Path
    variant: str

    @property
    def workdir(self) -> str:
        """'runs/gan' for experiments/gan.py, 'runs/gan-minimax' for experiments/gan.py:minimax."""
        return str(Path("runs", "-".join(filter(None, (self.file.stem, self.variant)))))


def source(name: str) -> Source:
    """The file and variant of 'FILE.py[:variant]' or 'latentgen:RECIPE[:variant]'.

    Raises:
        BadInput: there is no such file or recipe.
    """
    if not name.startswith(PREFIX):
        file, _, variant = name.partition(":")
        if not Path(file).is_file():
            hint = f"; did you mean {PREFIX}{name}?" if file in NAMES else "."
            raise BadInput(f"there is no file {file!r}{hint}")
        return Source(Path(file), variant)
    recipe, _, variant = name.removeprefix(PREFIX).partition(":")
    if recipe not in NAMES:
        raise BadInput(f"{recipe!r} is no recipe{nearest(recipe, NAMES)}")
    found = [folder / f"{recipe}.py" for folder in FOLDERS]
    return Source(next((file for file in found if file.is_file()), found[0]), variant)


def load(name: str) -> ConfigDict:
    """The config that `get_config` of a file returns, executed once and checked to be plain data.

    Args:
        name: see `source`.

    Raises:
        BadInput: the file is missing or fails, or returns something else.
    """
    file, variant = source(name)
    try:
        config = runpy.run_path(str(file))["get_config"](*filter(None, (variant,)))
        if not isinstance(config, ConfigDict):
            raise BadInput(f"get_config returns a {type(config).__name__}, not a ConfigDict.")
    except BadInput:
        raise
    except (Exception, SystemExit) as error:  # a file of the user's: anything may be wrong with it
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise BadInput(
            f"it fails with {type(error).__name__}: {error} "
            f"({Path(where.filename).name}, line {where.lineno})."
        ) from None
    if plugins.KEY not in config:  # so that --config.plugins=my_idea, may name one
        with config.unlocked():
            config[plugins.KEY] = ()
    check_plain(config.to_dict())
    return config


def check_plain(config: Mapping[str, Any]) -> None:
    """Check that every value can be written as JSON.

    Raises:
        BadInput: one cannot.
    """
    for key, value in flatten(config).items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise BadInput(
                f"config.{key}={written(value)} must be plain data: a finite number, a word, or a "
                "tuple of these."
            ) from None


def check_override(key: str, value: str, keys: Mapping[str, Any]) -> None:
    """Check `--config.KEY=VALUE` against the config's own values.

    Args:
        key: without 'config.'.
        keys: the config's values by key.

    Raises:
        BadInput: there is no such key, it is a section, or its value is of another kind.
    """
    if key not in keys:
        inside = [name for name in keys if name.startswith(f"{key}.")]
        if not inside:
            raise BadInput(f"--config.{key} is not a key of the config{nearest(key, keys)}")
        if value.startswith("{"):
            return
        raise BadInput(
            f"--config.{key}={value} names a section, which has keys of its own, such as "
            f"--config.{inside[0]}; another method is another file: --config=experiments/..."
        )
    old = keys[key]
    if isinstance(old, float) and schedules.is_schedule(value):
        return
    if isinstance(old, bool) or not (old is None or isinstance(old, int | float)):
        return
    kind, words = (float, "a number") if isinstance(old, float) else (int, "a whole number")
    if old is None and value == "None":
        return
    try:
        kind(value)
    except ValueError:
        exact = _whole(value) if kind is int else None
        hint = f"; write {exact}" if exact is not None else ""
        words += " or None" if old is None else ""
        raise BadInput(f"--config.{key}={value} must be {words}{hint}.") from None


def exchange_schedules(
    config: ConfigDict, overrides: Mapping[str, str], keys: Mapping[str, Any]
) -> set[str]:
    """Override a number by a schedule, or a schedule by a number, in `config` itself.

    Returns:
        The keys that were overridden.
    """
    found = set()
    for key, text in overrides.items():
        old = keys.get(key)  # None: a section
        to_schedule = isinstance(old, float) and schedules.is_schedule(text)
        to_number = isinstance(old, str) and schedules.is_schedule(old) and _is_number(text)
        if to_schedule or to_number:
            *path, name = key.split(".")
            section = reduce(ConfigDict.__getitem__, path, config)
            with section.ignore_type():
                section[name] = text if to_schedule else float(text)
            found.add(key)
    return found


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _whole(value: str) -> int | None:
    """1000 for '1e3'; None where it is no whole number."""
    try:
        found = float(value)
    except ValueError:
        return None
    exact = math.isfinite(found) and found.is_integer() and abs(found) < 2**53
    return int(found) if exact else None
