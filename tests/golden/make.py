"""Makes the golden workdirs of a release: `python tests/golden/make.py`, from the project's root.

For each run of RUNS a folder tests/golden/VERSION/NAME: the workdir as training left it, without
its pictures and TensorBoard's events, and expected.json, which says what later versions must find
in it. Done once, when a version is released; an old version's folders never change.
"""

import shutil
from pathlib import Path
from typing import Any

import jax

import latentgen
from experiments import gan, vae
from latentgen.core.keys import named_key
from latentgen.storage.checkpoint import describe
from latentgen.storage.workdir import write_json
from latentgen.sweeps.plan import changed
from latentgen.training import setup, trainer
from latentgen.training.setup import Run

HERE = Path(__file__).parent
KEPT = ("config.json", "data.json", "metrics.jsonl", "summary.json", "checkpoints")
STEPS = (20, 40)


def _vae() -> dict[str, Any]:
    """Batch norm, an average of the weights, two layers of codes, a prior that learns."""
    config = vae.get_config()
    config.method.update(code_dim=3, second_code_dim=2, prior="mixture", components=3, kl="sampled")
    for net in ("encoder", "decoder", "code_network"):
        config[net].update(hidden=(4,), activation="tanh")
    config.decoder.norm = "batch"
    return _short(config)


def _gan() -> dict[str, Any]:
    """A spectral norm, a penalty, two critic steps."""
    config = gan.get_config()
    config.method.update(loss="hinge", penalty="r1", penalty_weight=0.1, discriminator_steps=2)
    config.method.code_dim = 4
    for net, norm in (("generator", "batch"), ("discriminator", "spectral")):
        config[net].update(hidden=(4,), norm=norm)
    return _short(config)


def _short(config: Any) -> dict[str, Any]:
    config.update(steps=STEPS[-1], batch_size=16)
    config.method.update(ema_decay=0.9, ema_start=0)
    config.every.update(log=10, validate=20, sample=40, checkpoint=20)
    return changed(config, {})


RUNS = {"vae": _vae, "gan": _gan}


def found(run: Run) -> dict[str, Any]:
    """By step, what checkpoints hold: each leaf in words and its digest, and what they generate."""
    steps = {}
    for step in STEPS:
        _, state = setup.restore(run, step)
        x = run.method.sample(state, named_key(run.key, "golden"), 4)
        steps[str(step)] = {
            "leaves": {
                path: f"{leaf['dtype']} {leaf['shape']} {leaf['sha256']}"
                for path, leaf in describe(state).items()
            },
            "samples": [" ".join(f"{v:.6f}" for v in row) for row in x.reshape(4, -1).tolist()],
        }
    return steps


def main() -> None:
    """Makes all of this version's."""
    for name, config in RUNS.items():
        place = HERE / latentgen.__version__ / name
        if place.exists():
            raise SystemExit(f"{place} is there already; what has been released stays as it is.")
        # Orbax writes the path into the checkpoint: one that says nothing of this machine.
        run = setup.load(Path("/tmp/golden", name), config(), None, None)
        trainer.train(run)
        place.mkdir(parents=True)
        for part in KEPT:
            shutil.move(run.folder / part, place / part)
        shutil.rmtree(run.folder)
        write_json(place / "expected.json", found(run._replace(folder=place)))
        size = sum(p.stat().st_size for p in place.rglob("*") if p.is_file())
        print(f"{place}: {size / 1024:.0f} KiB, jax {jax.__version__}")


if __name__ == "__main__":
    main()
