"""Mode coverage of GANs: ring and grid, six games, five seeds each.

    python -m experiments.studies.mode_coverage [--folder runs/modes] [--seeds 0 1 2 3 4]

Trains `experiments/gan.py:ring` and `:grid` with what a row of `ROWS` changes, all seeds of a row
as one program (a population), and counts modes in 2,500 samples of the averaged generator as
Lin et al. 2018 do (PacGAN, arXiv:1712.04086): modes with a sample within three standard
deviations, the share of such samples (of high quality), and the KL divergence of their modes from
the data's; beside it the same of all samples, each counted for its nearest mode. Below stand real
test points, real points without one mode, and points that are uniform all over the plane.
Every row has the same networks and optimizers, and as many turns of the discriminator: 10,000 on
the ring, 20,000 on the grid. The papers train for 400,000.

Prints mean and standard error over seeds, and draws the first seed's samples. Each row is written
to the folder when it is done; the same command again continues.
"""

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import gan as recipes
from experiments.studies.iwae_samples import over_seeds
from latentgen import configs
from latentgen.core.game import run_chunk
from latentgen.core.keys import run_key
from latentgen.core.wrappers import population, population_batches
from latentgen.data import pipeline, sources
from latentgen.data.toys import MODES
from latentgen.evaluation.measures.modes import points_beside, points_near
from latentgen.storage.workdir import read_json, write_json
from latentgen.training.pictures import grid, save_png, scatter

SAMPLES = 2_500
CHUNK = 500
COLUMNS = {
    "captured": "modes",
    "high_quality": "high quality %",
    "reverse_kl_high_quality": "reverse KL of those",
    "captured_by_any": "modes of all",
    "reverse_kl": "reverse KL of all",
}
SHARED = {
    f"{player}{key}": value
    for player in ("generator", "discriminator")
    for key, value in (
        (".hidden", (128, 128)),
        ("_optimizer.lr", 1e-3),
        ("_optimizer.schedule", "cosine"),
    )
}
TURNS = {"ring": 10_000, "grid": 20_000}  # of the discriminator
GAMMA = {"ring": 0.01, "grid": 0.1}  # of R1 and R2: modes of the ring are five times as narrow
ROWS: dict[str, dict[str, Any]] = {
    "minimax": {"method.loss": "minimax"},
    "nonsaturating": {},
    "wgan_gp": {
        "method.loss": "wasserstein",
        "method.penalty": "wgan_gp",
        "method.penalty_weight": 0.1,  # Gulrajani et al.'s, for points in the plane
        "method.discriminator_steps": 5,
    },
    "r1": {"method.penalty": "r1"},
    "r3gan": {"method.loss": "relativistic", "method.penalty": "r1_r2"},
    "pacgan2": {"method.packing": 2, "batch_size": 512},  # as many packs as others have examples
}


def changed(name: str, row: str) -> dict[str, Any]:
    config = recipes.get_config(name)
    changes = {"method.penalty_weight": GAMMA[name]} | SHARED | ROWS[row]
    config.update_from_flattened_dict(changes)
    config.steps = TURNS[name] // config.method.discriminator_steps
    return config.to_dict()


def trained(config: dict[str, Any], seeds: list[int]) -> np.ndarray:
    """Samples (seed, n, 2) of all seeds, trained as one program."""
    experiment = configs.experiment(config)
    train = sources.load(experiment.data.name).splits["train"]
    make, root, many = configs.make(config, (2,)), jax.random.key(0), jnp.array(seeds)
    method = population(make, {}, many)
    feeds = [
        pipeline.feed(train, experiment.data.preprocess, experiment.batch_size, method.draws, key)
        for key in map(run_key, seeds)
    ]
    batches = population_batches(feeds[0].batches, many)
    run = jax.jit(partial(run_chunk, method, batches), donate_argnums=0)
    state = jax.jit(method.init)(root)
    for start in range(0, experiment.steps, CHUNK):
        rows = np.stack([feed.rows(start, CHUNK) for feed in feeds], axis=1)
        state, _ = run(state, start + jnp.arange(CHUNK), rows, feeds[0].resident, root)
    return np.asarray(jax.jit(method.sample, static_argnums=2)(state, root, SAMPLES))


def beside(name: str, seeds: list[int]) -> dict[str, list[dict[str, float]]]:
    """The same figures for sets that no GAN made: row -> one for each seed."""
    test = sources.load(name).splits["test"]
    each = [points_beside(MODES[name], test, SAMPLES, seed) for seed in seeds]
    names = ("real", "real without a mode", "noise")
    return {row: list(runs) for row, runs in zip(names, zip(*each, strict=True), strict=True)}


def row_of(folder: Path, name: str, row: str, seeds: list[int]) -> dict[str, Any]:
    """The row's result: read where it is known, else trained and written."""
    file = folder / f"{name}_{row}.json"
    config = changed(name, row)
    known = read_json(file) if file.exists() else {}
    if known.get("seeds") == seeds and known.get("config") == json_of(config):
        return known
    began = time.perf_counter()
    x = trained(config, seeds)
    found = {
        "seeds": seeds,
        "config": json_of(config),
        "seconds": round(time.perf_counter() - began, 1),
        "runs": [points_near(MODES[name], each) for each in x],
    }
    real = sources.load(name).splits["test"].x[:5_000]
    save_png(folder / f"{name}_{row}.png", scatter(x[0], real))
    write_json(file, found)
    return found


def json_of(config: dict[str, Any]) -> dict[str, Any]:
    """The config as JSON gives it back: tuples become lists."""
    return {
        key: json_of(value)
        if isinstance(value, dict)
        else list(value)
        if isinstance(value, tuple)
        else value
        for key, value in config.items()
    }


def picture(folder: Path, sets: list[str], rows: list[str]) -> None:
    """Draw all scatters as one picture: a row for each set, in the order of the table."""
    import PIL.Image

    files = [folder / f"{name}_{row}.png" for name in sets for row in rows]
    images = np.stack([np.asarray(PIL.Image.open(file)) for file in files])
    save_png(folder / "modes.png", grid(images[:, ::2, ::2] / 255, len(rows), 4))


def say(row: str, runs: list[dict[str, float]], seconds: str) -> None:
    """Prints a line of the table."""
    cells = []
    for key in COLUMNS:
        scale, digits = (100, 1) if key == "high_quality" else (1, 3 if "kl" in key else 1)
        mean, error = over_seeds([each[key] * scale for each in runs])
        cells.append(f"{mean:.{digits}f} +- {error:.{digits}f}")
    print(f"| {row} | " + " | ".join(cells) + f" | {seconds} |", flush=True)


def main() -> None:
    flags = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    flags.add_argument("--folder", type=Path, default=Path("runs/modes"))
    flags.add_argument("--sets", nargs="+", default=["ring", "grid"], choices=list(MODES))
    flags.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    flags.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    options = flags.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print("| | " + " | ".join(COLUMNS.values()) + " | seconds |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    for name in options.sets:
        print(f"| **{name}, of {len(MODES[name].means)}** |" + " |" * (len(COLUMNS) + 1))
        for row in options.rows:
            found = row_of(options.folder, name, row, options.seeds)
            say(row, found["runs"], f"{found['seconds']:.0f}")
        for row, runs in beside(name, options.seeds).items():
            say(row, runs, "")
    picture(options.folder, options.sets, options.rows)


if __name__ == "__main__":
    main()
