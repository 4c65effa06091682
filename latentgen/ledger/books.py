"""The ledger's files: baselines (modules), their citations (BibTeX), their results (JSON)."""

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentgen.config import plain
from latentgen.errors import BadInput, nearest
from latentgen.ledger.types import BUDGETS, REAL, Baseline, Exact
from latentgen.training import provenance, workdir

PACKAGE = "experiments.baselines"
FOLDER = Path("experiments", "baselines")
RESULTS, REFERENCES = "results", "references.bib"


def names(folder: Path = FOLDER) -> list[str]:
    """Of the baselines in the folder, sorted."""
    return sorted(file.stem for file in folder.glob("[a-z]*.py"))


def baseline(name: str, folder: Path = FOLDER) -> Baseline:
    """The baseline of this name.

    Raises:
        BadInput: there is none, or it is not seen from here.
    """
    valid = names(folder)
    if not valid:
        raise BadInput(f"there is no {folder} here; run this from the root of a checkout.")
    if name not in valid:
        listed = f"Valid: {', '.join(valid)}."
        raise BadInput(f"NAME={name!r} is no baseline{nearest(name, valid)} {listed}")
    found = importlib.import_module(f"{PACKAGE}.{name}").BASELINE
    assert isinstance(found, Baseline)
    return found


def every(folder: Path = FOLDER) -> dict[str, Baseline]:
    """All baselines by name."""
    return {name: baseline(name, folder) for name in names(folder)}


def identity(found: Baseline, budget: str) -> dict[str, Any]:
    """All that a result depends on besides seeds and source, as plain data."""
    recipe = found.recipe
    if isinstance(recipe, Exact):
        return {"budget": budget, "settings": dict(recipe.settings(budget))}
    config = {k: v for k, v in plain(recipe.config(budget).to_dict()).items() if k != "seed"}
    arms = {arm: dict(changes) for arm, changes in recipe.arms.items()}
    measures = {name: dict(flags) for name, flags in recipe.measures(budget).items()}
    return {"budget": budget, "config": config, "arms": arms, "measures": measures}


def config_hash(found: Baseline, budget: str) -> str:
    """Of `identity`: a result belongs to the baseline as it is now where this is the same."""
    return provenance.config_hash(identity(found, budget))


def entries(folder: Path = FOLDER) -> dict[str, str]:
    """The entries of references.bib by key, each as it stands there.

    Raises:
        BadInput: a key is there twice.
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
    """What was found, by the baseline's name."""
    return {
        file.stem: workdir.read_json(file) for file in sorted((folder / RESULTS).glob("*.json"))
    }


def keep(folder: Path, name: str, result: Mapping[str, Any]) -> Path:
    """Writes a result; returns the file.

    Raises:
        BadInput: its budget is smoke, or the file holds the result of a larger budget.
    """
    file = folder / RESULTS / f"{name}.json"
    if result["budget"] not in REAL:
        raise BadInput(f"--budget={result['budget']} shows that a recipe runs; it makes no result.")
    if file.exists():
        before = workdir.read_json(file)["budget"]
        if BUDGETS.index(before) > BUDGETS.index(result["budget"]):
            raise BadInput(
                f"{str(file)!r} holds a result at budget {before!r}; move it away first."
            )
    workdir.prepare(file.parent, "folder of results")
    workdir.write_json(file, result)
    return file
