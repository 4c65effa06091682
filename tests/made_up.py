"""Folders of runs and sweeps made up in a moment: what `latentgen.reporting` reads."""

import json
from pathlib import Path

import numpy as np

from latentgen.training import pictures

CONFIG = {
    "seed": 0,
    "steps": 1000,
    "batch_size": 64,
    "data": {"name": "digits", "preprocess": "unit"},
    "method": {"name": "gan", "code_dim": 32},
    "generator_optimizer": {"lr": 0.001},
}
STAMP = {
    "data": {"name": "digits", "splits": {"train": 1397}, "sha256": "7adc"},
    "versions": {"latentgen": "0.1.0", "jax": "0.10.2"},
    "device": {"platform": "cpu", "kind": "cpu"},
    "command": "python -m latentgen.run --config experiments/gan.py",
    "config_sha256": "abc",
}


def lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def digits(seed: int, n: int = 64, side: int = 8) -> np.ndarray:
    """A grid of noise, as `samples/` holds it."""
    x = np.random.default_rng(seed).random((n, side, side, 1), np.float32)
    return pictures.grid(x, gap=4)


def run(
    folder: Path,
    config: dict = CONFIG,
    loss: float = 1.0,
    status: dict | None = None,
    steps: tuple[int, ...] = (0, 500, 1000),
    each: int = 50,
    terms: tuple[str, ...] = ("cost", "generator_loss"),
    kinds: tuple[str, ...] = ("samples",),
    picture: bytes | None = None,
    done: bool = True,
) -> Path:
    """A run whose validation/loss ends at `loss`, with pictures of noise after `steps`."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    rows = []
    for step in range(each, config["steps"] + 1, each):
        values = dict.fromkeys(terms, loss + 1 / step)
        rows.append({"step": step, "seconds": step / 100, "split": "train", **values})
    final = {"step": config["steps"], "seconds": 10.0, "split": "validation", "loss": loss}
    lines(folder / "metrics.jsonl", [*rows, final])
    for kind in kinds:
        (folder / kind).mkdir()
        for step in steps:
            file = folder / kind / f"step_{step:08d}.png"
            file.write_bytes(picture or pictures.png(digits(step + config["seed"])))
    if done:
        summary = {"final": {"validation": {"loss": loss}}, "steps": 1000, **STAMP}
        (folder / "summary.json").write_text(json.dumps(summary))
    if status is not None:
        (folder / "status.json").write_text(json.dumps(status))
    return folder


def sweep(folder: Path, members: list[dict], **each) -> Path:
    """A sweep; a member has run, setting, seed, changes, and what `run` takes for it."""
    (folder / "runs").mkdir(parents=True)
    origin = {"config": CONFIG, "spec": {"lr": [1, 2]}, "command": "python -m latentgen.sweep"}
    (folder / "sweep.json").write_text(json.dumps(origin))
    keys = ("run", "setting", "seed", "changes")
    lines(folder / "manifest.jsonl", [{key: member[key] for key in keys} for member in members])
    for member in members:
        more = {key: value for key, value in member.items() if key not in keys}
        config = {**CONFIG, "seed": member["seed"]}
        if more.pop("made", True):
            run(folder / "runs" / member["run"], **{"config": config, **each, **more})
    return folder


def learning_rates(losses: dict[float, list[float]]) -> list[dict]:
    """Members of a sweep: for each learning rate, the losses of seeds 0, 1, ..."""
    return [
        {
            "run": f"lr={lr:g},s={seed}",
            "setting": f"lr={lr:g}",
            "seed": seed,
            "changes": {"generator_optimizer.lr": lr},
            "loss": loss,
        }
        for lr, group in losses.items()
        for seed, loss in enumerate(group)
    ]
