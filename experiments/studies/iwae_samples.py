"""More importance samples, better models: IWAE with k = 1, 5, 50 on binarized Fashion-MNIST.

    python -m experiments.studies.iwae_samples [--folder runs/iwae] [--seeds 0 1 2] [--json FILE]

Trains `experiments/vae.py:iwae` (784-200-200-50, pixels above 1/2, 20 epochs) for each k and seed,
measures log p(x) of the first 2,000 test images with 5,000 importance samples, and the active
units, and prints mean and standard error over seeds. Burda et al. 2015 (arXiv:1509.00519) found on
MNIST that with k the negative log-likelihood falls and the active units rise; here the order is
the claim, not their numbers.

The same command again continues. About an hour on two cores.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from latentgen.storage.log import read
from latentgen.storage.workdir import write_json

METRICS = ("--metrics=is,active", "--images=2000")


def command(module: str, *flags: str) -> None:
    subprocess.run([sys.executable, "-m", f"latentgen.{module}", *flags], check=True)


def measured(folder: Path, k: int, seed: int) -> dict[str, dict]:
    """The run's results by metric; trained and measured first, where it is not yet."""
    workdir = folder / f"k{k}_seed{seed}"
    config = "--config=experiments/vae.py:iwae"
    command(
        *("run", config, f"--config.method.samples={k}", f"--config.seed={seed}"),
        f"--workdir={workdir}",
    )
    file = workdir / "evaluations.jsonl"
    if not file.exists():
        command("evaluate", f"--workdir={workdir}", *METRICS)
    return {line["metric"]: line["values"] for line in read(file)}


def over_seeds(values: list[float]) -> tuple[float, float]:
    """Mean and standard error; nan where one seed gives none."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return float(np.mean(values)), float(error)


def main() -> None:
    flags = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    flags.add_argument("--folder", type=Path, default=Path("runs/iwae"))
    flags.add_argument("--k", type=int, nargs="+", default=[1, 5, 50])
    flags.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    flags.add_argument("--json", type=Path)
    options = flags.parse_args()
    rows = {}
    for k in options.k:
        found = [measured(options.folder, k, seed) for seed in options.seeds]
        nll = [-each["is"]["log_likelihood"]["mean"] for each in found]
        units = [each["active"]["active_units"] for each in found]
        ess = [each["is"]["effective_samples"]["mean"] for each in found]
        rows[k] = {"nll": nll, "active_units": units, "effective_samples": ess}
    print(f"{'k':>4} {'test NLL':>20} {'active units':>18}   {len(options.seeds)} seeds")
    for k, row in rows.items():
        nll, units = over_seeds(row["nll"]), over_seeds(row["active_units"])
        print(f"{k:4} {nll[0]:11.3f} +- {nll[1]:.3f} {units[0]:11.2f} +- {units[1]:.2f}")
    if options.json:
        write_json(options.json, json.loads(json.dumps(rows)))


if __name__ == "__main__":
    main()
