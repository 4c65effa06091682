"""The ledger's files: baselines (modules), their citations (BibTeX), their results (JSON)."""

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentgen.baselines.claims import REAL, Baseline, Exact
from latentgen.configs.section import plain
from latentgen.core.errors import BadInput, nearest
from latentgen.storage import aliases, provenance, workdir

PACKAGE = "experiments.baselines"
FOLDER = Path("experiments", "baselines")
RESULTS, REFERENCES = "results", "references.bib"
SHAPE = {
    **dict.fromkeys(("name", "budget", "command", "config_sha256"), str),
    **dict.fromkeys(("versions", "device", "protocol", "measured"), dict),
    **dict.fromkeys(("seeds", "not_done", "claims"), list),
    **dict.fromkeys(("cpu_seconds", "seconds"), int | float),
    "commit": str | None,
}
"""Keys and types of a result."""


def names(folder: Path = FOLDER) -> list[str]:
    """Return the names of the baselines in the folder, sorted.

    Raises:
        BadInput: the folder does not exist relative to the current one.
    """
    found = sorted(file.stem for file in folder.glob("[a-z]*.py"))
    if not found:
        raise BadInput(f"there is no {folder} here; run this from the root of a checkout.")
    return found


def baseline(name: str, folder: Path = FOLDER) -> Baseline:
    """Import the baseline of this name.

    Raises:
        BadInput: there is no such baseline or folder.
    """
    valid = names(folder)
    if name not in valid:
        listed = f"Valid: {', '.join(valid)}."
        raise BadInput(f"NAME={name!r} is no baseline{nearest(name, valid)} {listed}")
    found = importlib.import_module(f"{PACKAGE}.{name}").BASELINE
    assert isinstance(found, Baseline)
    return found


def every(folder: Path = FOLDER) -> dict[str, Baseline]:
    """Import all baselines, by name."""
    return {name: baseline(name, folder) for name in names(folder)}


def identity(found: Baseline, budget: str) -> dict[str, Any]:
    """Return what a result depends on besides seeds and source, under the former names."""
    recipe = found.recipe
    if isinstance(recipe, Exact):
        return {"budget": budget, "settings": dict(recipe.settings(budget))}
    config = {k: v for k, v in plain(recipe.config(budget).to_dict()).items() if k != "seed"}
    config = aliases.former(config)
    arms = {
        arm: {aliases.former_key(key): value for key, value in changes.items()}
        for arm, changes in recipe.arms.items()
    }
    measures = {name: dict(flags) for name, flags in recipe.measures(budget).items()}
    return {"budget": budget, "config": config, "arms": arms, "measures": measures}


def config_hash(found: Baseline, budget: str) -> str:
    """Return the hash of `identity`; a result is current if it was recorded with the same hash."""
    return provenance.config_hash(identity(found, budget))


def entries(folder: Path = FOLDER) -> dict[str, str]:
    """Return the entries of references.bib by key.

    Raises:
        BadInput: a key occurs twice.
    """
    text = (folder / REFERENCES).read_text()
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=@)", text):
        head = re.match(r"@\w+\{([^,\s]+),", entry)
        if head is None:
            continue
        if head[1] in found:
            raise BadInput(f"{folder / REFERENCES}: the key {head[1]!r} is there twice.")
        found[head[1]] = entry.strip()
    return found


def results(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Read all results, by the baseline's name.

    Raises:
        BadInput: a file is not a result.
    """
    return {file.stem: read(file) for file in sorted((folder / RESULTS).glob("*.json"))}


def read(file: Path) -> dict[str, Any]:
    """Read the result in a file.

    Raises:
        BadInput: it is not a result.
    """
    try:
        found = workdir.read_json(file)
    except (OSError, ValueError) as error:
        raise BadInput(f"{str(file)!r} cannot be read: {error}.") from None
    if not isinstance(found, dict):
        raise BadInput(f"{str(file)!r} holds no result, but {type(found).__name__}.")
    if missing := [key for key in SHAPE if key not in found]:
        raise BadInput(f"{str(file)!r}: the result lacks {', '.join(missing)}.")
    for key, kind in SHAPE.items():
        if not isinstance(found[key], kind):
            raise BadInput(f"{str(file)!r}: {key} is {found[key]!r:.60}, which cannot be.")
    for of, values in found["measured"].items():
        if not isinstance(values, dict) or not all(map(_is_number, values.values())):
            raise BadInput(f"{str(file)!r}: measured {of!r} is {values!r:.60}, which cannot be.")
    if not all(isinstance(claim, dict) for claim in found["claims"]):
        raise BadInput(f"{str(file)!r}: a claim is none.")
    return found


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def check(folder: Path, name: str, budget: str, seeds: int) -> Path:
    """Return the file of a result, if it may be written.

    Raises:
        BadInput: the budget is smoke, or the file has a result of a larger budget or more seeds.
    """
    file = folder / RESULTS / f"{name}.json"
    if budget not in REAL:
        raise BadInput(f"--budget={budget} shows that a recipe runs; it makes no result.")
    if file.exists():
        before = read(file)
        if before["budget"] not in REAL or REAL.index(before["budget"]) > REAL.index(budget):
            raise BadInput(
                f"{str(file)!r} holds a result at budget {before['budget']!r}; move it away first."
            )
        if before["budget"] == budget and len(before["seeds"]) > seeds:
            raise BadInput(
                f"{str(file)!r} holds a result of {len(before['seeds'])} seeds, --seeds={seeds} "
                "would leave some out; move it away first."
            )
    return file


def keep(folder: Path, result: Mapping[str, Any]) -> Path:
    """Write a result; return the file.

    Raises:
        BadInput: see `check`.
    """
    file = check(folder, result["name"], result["budget"], len(result["seeds"]))
    workdir.prepare(file.parent, "folder of results")
    workdir.write_json(file, result)
    return file
