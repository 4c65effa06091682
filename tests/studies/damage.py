"""Every file of a checkpoint, damaged in every way: is it noticed, or has it done no harm?

    python -m tests.studies.damage --flips 1000

Trains the digits VAE for a moment and saves twice. Then, of the newer checkpoint, single bits are
flipped (`--flips` in all, spread over its bytes, but at least 4 a file), and each file is cut in
half, filled with zeros, deleted, and replaced by its namesake of the older checkpoint; each time
the run's state is asked for. Either it comes back as it was saved, to the bit, or the damage is
told, the checkpoint set aside as N.damaged and the older one used. Prints for each file how often
which; anything else is a failure (exit 1). About 2 minutes for 1,000 flips.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from experiments import vae
from latentgen.core.types import PyTree
from latentgen.storage.checkpoint import Checkpoints, describe
from latentgen.sweeps.plan import changed
from latentgen.training import setup, trainer

LEAST = 4  # flips of a file
STEPS = (10, 20)


def flip(path: Path, bit: int) -> None:
    """Turns over one bit of a file."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def harms(place: Path, older: Path, flips: int) -> Iterator[tuple[str, str, Callable[[], None]]]:
    """(file, what is done, what does it), for each harm to each file of the checkpoint in `place`.

    Args:
        older: a checkpoint of another step.
        flips: in all, more where files are small.
    """
    random = np.random.default_rng(0)
    files = sorted(p for p in place.rglob("*") if p.is_file())
    whole = sum(file.stat().st_size for file in files)
    for file in files:
        name, size = str(file.relative_to(place)), file.stat().st_size
        for _ in range(max(LEAST, round(flips * size / whole)) if size else 0):
            bit = int(random.integers(8 * size))
            yield name, f"bit {bit}", lambda f=file, bit=bit: flip(f, bit)
        yield name, "cut", lambda f=file, n=size: os.truncate(f, n // 2)
        yield name, "zeros", lambda f=file, n=size: f.write_bytes(bytes(n))
        yield name, "gone", lambda f=file: f.unlink()
        if (other := older / name).exists():
            yield name, "older", lambda f=file, o=other: shutil.copy(o, f)
    yield ".", "older", lambda: (shutil.rmtree(place), shutil.copytree(older, place))


def outcome(folder: Path, like: PyTree, saved: dict[int, dict]) -> str:
    """'as saved', 'told', or what is wrong, of the newest of the folder's two checkpoints."""
    said: list[str] = []
    newer = max(saved)
    with Checkpoints(folder) as checkpoints:
        step, state, _ = checkpoints.newest(like, said.append)
    if describe(state) != saved[step]:
        return f"WRONG: not what was saved after step {step}"
    if step == newer:
        return "as saved" if not said else f"WRONG: {said}"
    told = len(said) == 1 and f"checkpoint {newer}" in said[0]
    aside = (folder / f"{newer}.damaged").exists() and not (folder / str(newer)).exists()
    return "told" if told and aside else f"WRONG: {said}"


def study(
    folder: Path, like: PyTree, saved: dict[int, dict], flips: int
) -> Iterator[tuple[str, str, str]]:
    """(file, harm, outcome) of each harm, with the folder whole again after each.

    Args:
        folder: of two checkpoints.
        like: see `Checkpoints.restore`.
        saved: step -> what `describe` says of its state.
    """
    older, newer = sorted(saved)
    with tempfile.TemporaryDirectory() as kept:
        for step in saved:
            shutil.copytree(folder / str(step), Path(kept, str(step)))
        for name, what, harm in harms(folder / str(newer), Path(kept, str(older)), flips):
            harm()
            yield name, what, outcome(folder, like, saved)
            for old in (f"{newer}.damaged", str(newer)):
                shutil.rmtree(folder / old, ignore_errors=True)
            shutil.copytree(Path(kept, str(newer)), folder / str(newer))


def main() -> None:
    """Prints what becomes of each file's harms."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=1_000)
    flips = parser.parse_args().flips
    with tempfile.TemporaryDirectory() as place:
        config = vae.get_config()
        config.update(steps=STEPS[-1])
        config.every.update(dict.fromkeys(config.every, STEPS[0]) | {"evaluate": 0})
        run = setup.load(Path(place, "run"), changed(config, {}), None, None)
        trainer.train(run)
        saved = {step: describe(setup.restore(run, step)[1]) for step in STEPS}
        like = run.state
        counts: dict[str, Counter[str]] = {}
        for name, what, found in study(run.folder / "checkpoints", like, saved, flips):
            counts.setdefault(name, Counter())[found] += 1
            if found not in ("as saved", "told"):
                print(f"{name}: {what}: {found}")
    print(f"{'file':60} {'harms':>6} {'told':>6} {'as saved':>9}")
    for name, each in counts.items():
        print(f"{name:60} {each.total():6} {each['told']:6} {each['as saved']:9}")
    every = sum(counts.values(), Counter[str]())
    wrong = every.total() - every["told"] - every["as saved"]
    print(f"{'all':60} {every.total():6} {every['told']:6} {every['as saved']:9}; {wrong} wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
