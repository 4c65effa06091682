"""The text of `--help`: a command's flags in groups, and with `--config` the config's keys."""

import re
import sys
import textwrap
from collections.abc import Mapping, Sequence

from absl import flags

from latentgen.configs import recipes
from latentgen.storage.workdir import flatten

WIDTH = 96
HELP = {"-h", "--h", "-help", "--help", "--helpshort"}
COMMENT = re.compile(r"^ *(\w+)=.*?, *# *(.+)$", re.MULTILINE)

GROUPS: dict[str, tuple[str, ...]] = {
    "data": ("data_dir", "manual_dir"),
    "devices and processes": (
        *("devices", "fsdp", "coordinator", "num_processes", "process_id", "heartbeat", "stuck"),
    ),
    "Slurm": (
        "partition",
        "account",
        "qos",
        "mem",
        "time",
        "cpus",
        "gpus",
        "lead",
        "requeues",
        "sbatch",
    ),
}
"""Title -> flags; the other flags of a command come first."""


def asked(argv: Sequence[str]) -> bool:
    """Return whether the arguments ask for help."""
    return not HELP.isdisjoint(argv[1:])


def text(values: flags.FlagValues, config: str) -> str:
    """Return the help of the running command.

    Args:
        values: its flags.
        config: the config named beside --help, or ''.

    Raises:
        BadInput: the config cannot be loaded.
    """
    own_flags = {flag.name: flag for flag in values.get_key_flags_for_module(sys.argv[0])}
    grouped = {name for names in GROUPS.values() for name in names}
    parts = [(sys.modules["__main__"].__doc__ or "").strip(), ""]
    parts += _group("flags", own_flags, [name for name in own_flags if name not in grouped])
    for title, names in GROUPS.items():
        parts += _group(title, own_flags, [name for name in names if name in own_flags])
    if config:
        parts += _keys(config)
    elif "config" in own_flags:
        parts += [f"With --config, --help also lists the config's keys. Recipes: {_recipes()}."]
    return "\n".join(parts).rstrip()


def _recipes() -> str:
    return ", ".join(f"{recipes.PREFIX}{name}" for name in recipes.NAMES)


def _group(title: str, own_flags: Mapping[str, flags.Flag], names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return [f"{title}:", *(_flag(own_flags[name]) for name in sorted(names)), ""]


def _flag(flag: flags.Flag) -> str:
    name = f"[no]{flag.name}" if flag.boolean else flag.name
    default = f" (default: {flag.default_as_str})" if flag.default not in (None, [], False) else ""
    return _wrapped(f"--{name}: {' '.join(str(flag.help).split())}{default}")


def _wrapped(line: str) -> str:
    return textwrap.fill(line, WIDTH, initial_indent="  ", subsequent_indent="      ")


def _keys(config: str) -> list[str]:
    loaded = flatten(recipes.load(config).to_dict())
    files = [*map(recipes.source, (f"{recipes.PREFIX}{name}" for name in recipes.NAMES))]
    comments: dict[str, str] = {}
    for each in [*files, recipes.source(config)]:  # the config's own comments take precedence
        comments |= dict(COMMENT.findall(each.file.read_text()))
    lines = []
    for key, value in loaded.items():
        comment = comments.get(key.rpartition(".")[2], "")
        line = f"  --config.{key}={_written(value)}"
        lines.append(f"{line:<52}  {comment}".rstrip())
    return [f"keys of {config}:", *lines, ""]


def _written(value: object) -> str:
    return str(value).replace(" ", "") if isinstance(value, tuple | list) else str(value)
