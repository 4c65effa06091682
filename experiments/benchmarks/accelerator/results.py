"""The JSON of results: the card, the versions, and the findings of each part so far."""

import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latentgen.core.errors import BadInput

CARDS = Path(__file__).parents[1] / "cards"
FORMAT = 1
DISTRIBUTIONS = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "torch", "triton")
SAME = ("format", "dry", "card", "versions")
"""What must be the same for a second call to go on with what a first one found."""

PROBE = """
import json, jax
first = jax.devices()[0]
limit = (first.memory_stats() or {}).get("bytes_limit")
print(json.dumps({"platform": first.platform, "kind": first.device_kind, "limit": limit}))
"""

Results = dict[str, Any]


def versions() -> dict[str, str]:
    """Python's and the libraries' versions, without importing them."""
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def driver() -> dict[str, str]:
    """Name, driver and memory of the first card by nvidia-smi; {} without one."""
    fields = ("name", "driver_version", "memory.total")
    asked = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {}
    return dict(zip(("name", "driver", "memory"), map(str.strip, lines[0].split(",")), strict=True))


def probe() -> dict[str, Any]:
    """JAX's first device, asked by a process that ends at once: this one must not hold a GPU."""
    asked = [sys.executable, "-c", PROBE]
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120, env=environment)
    if done.returncode:
        raise BadInput(f"JAX does not start: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def identity(dry: bool | None) -> Results:
    """Empty results of this machine.

    Args:
        dry: None: dry where JAX has no GPU.

    Raises:
        BadInput: there is a card that JAX does not see, or none and `dry` is False.
    """
    device, card = probe(), driver()
    has_gpu = device["platform"] in ("gpu", "cuda", "rocm")
    if card and not has_gpu and not dry:
        raise BadInput(
            f"JAX does not see the {card['name']}: install latentgen[cuda] or latentgen[cuda13], "
            "or give --dry for a dry run on the CPU."
        )
    if dry is False and not has_gpu:
        raise BadInput("JAX has no GPU on this machine.")
    dry = not has_gpu if dry is None else dry
    name = "CPU" if dry else card.get("name", device["kind"])
    return {
        "format": FORMAT,
        "dry": dry,
        "card": {"name": name} if dry else card | {"name": name},
        "versions": versions(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "parts": {},
    }


def slug(name: str) -> str:
    """A card's name as a file's: 'NVIDIA H100 80GB HBM3' -> 'nvidia-h100-80gb-hbm3'."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def default_path(results: Results) -> Path:
    """The file where results of this machine are kept by default."""
    if results["dry"]:
        return Path("runs", "benchmarks", "accelerator-dry.json")
    return CARDS / f"{slug(results['card']['name'])}.json"


def check_place(path: Path, dry: bool, cards: Path = CARDS) -> None:
    """Keep figures of a dry run out of the folder of real ones.

    Raises:
        BadInput: a dry run would be written there.
    """
    if dry and path.resolve().is_relative_to(cards.resolve()):
        raise BadInput(f"--json={path}: figures of a dry run do not belong among those of cards.")


def read(path: Path) -> Results:
    """Results from their file.

    Raises:
        BadInput: it holds something else.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"--json={path} cannot be read: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise BadInput(f"--json={path} holds no results of this command.")
    return found


def opened(path: Path, here: Results, fresh: bool) -> Results:
    """Results to continue: those in the file if they are of this machine.

    Args:
        here: empty results of this machine.
        fresh: begin anew and overwrite what is there.

    Raises:
        BadInput: the file holds results of another card, other versions or a dry run.
    """
    check_place(path, here["dry"])
    if fresh or not path.exists():
        return here
    found = read(path)
    for key in SAME:
        if found[key] != here[key]:
            raise BadInput(
                f"--json={path} holds results with another {key!r} ({_said(found[key])}; here "
                f"{_said(here[key])}): name another file, or give --fresh to overwrite it."
            )
    return found


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return str(value)


def write(path: Path, results: Results) -> None:
    """Replace the file in one step, so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(results, indent=1) + "\n")
    temporary.replace(path)


def problems(part: str, found: dict[str, Any]) -> list[str]:
    """The reasons why a part does not count as passed, a line each.

    A check that was not reached counts as a problem; a measurement that was not reached does not.
    """
    lines = []
    for item in found["items"]:
        name = f"{part}: {item['name']}"
        done = found["done"].get(item["name"])
        if done is None:
            if item["checks"]:
                lines.append(f"{name}: not reached within {found['limit']:.0f} s")
        elif error := done.get("error"):
            lines.append(f"{name}: {error.strip().splitlines()[-1]}")
        else:
            lines += [f"{name}: {_row_said(row)}" for row in done["rows"] if row.get("ok") is False]
    if not found["items"]:
        lines.append(f"{part}: {found.get('error', 'did not start').strip().splitlines()[-1]}")
    return lines


def _row_said(row: dict[str, Any]) -> str:
    return ", ".join(f"{k}={v}" for k, v in row.items() if isinstance(v, str | int | float))


def rows(results: Results, parts: Sequence[str]) -> list[dict[str, Any]]:
    """All rows of these parts."""
    return [
        row
        for name in parts
        for done in results["parts"].get(name, {"done": {}})["done"].values()
        for row in done.get("rows", [])
    ]
