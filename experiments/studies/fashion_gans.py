"""Three GANs and a VAE on Fashion-MNIST: the Frechet classifier distance at one budget.

    python -m experiments.studies.fashion_gans [--folder runs/fashion_gans] [--epochs 5]

All have InfoGAN's network at half width (`experiments/gan.py:fashion`), codes of 64 and see the
training images as often (the discriminator's data count). Measured against the 10,000 test images,
with 10,000 samples and the features of the shipped classifier: a Frechet classifier distance, not
FID. The same command again continues; 35 min on one core.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

from latentgen.evaluation.measures.results import compared, last
from latentgen.objectives.penalties import rescale_gamma
from latentgen.training.pictures import grid, save_png

TRAIN = 55_000
METRICS = ("frechet", "kernel", "prdc", "modes")


def half(*networks: str) -> list[str]:
    return [f for n in networks for f in (f"{n}.hidden=512,", f"{n}.channels=32,64")]


GAN = half("generator", "discriminator")
VAE = [
    *half("encoder", "decoder"),
    *("decoder.norm=batch", "encoder.norm=batch", "method.code_dim=64", "batch_size=64"),
    *("decoder.init=normal02", "encoder.init=normal02", "encoder.activation=leaky_relu"),
]
ROWS: dict[str, tuple[str, int, list[str]]] = {  # config, draws of 64 images in a step, changes
    "vae": ("vae.py:conv", 1, VAE),
    "nonsaturating": ("gan.py:fashion", 1, []),
    "wgan_gp": (
        "gan.py:wgan_gp",
        2,
        [
            *GAN,
            *("method.discriminator_steps=2", "method.ema_decay=0.999"),
            *("generator_optimizer.lr=2e-4", "discriminator_optimizer.lr=2e-4"),
        ],
    ),
    # As the other rows have them: images in [0, 1], a sigmoid, uniform codes.
    "r3gan": (
        "gan.py:r3gan_loss",
        1,
        [
            *GAN,
            *("data.preprocess=unit", "method.output=sigmoid", "method.prior=uniform"),
            f"method.penalty_weight={rescale_gamma((0.0, 1.0), 20.0)}",
        ],
    ),
}


def command(module: str, *flags: str) -> None:
    subprocess.run([sys.executable, "-m", f"latentgen.{module}", *flags], check=True)


def steps(epochs: int, draws: int) -> int:
    """Whole chunks of 100 steps."""
    return round(epochs * TRAIN / (64 * draws) / 100) * 100


def picture(folder: Path, rows: list[str]) -> None:
    """The last samples of all rows side by side, at one pixel a pixel."""
    import PIL.Image

    files = [max((folder / row / "samples").glob("step_*.png")) for row in rows]
    images = np.stack([np.asarray(PIL.Image.open(file)) for file in files])
    save_png(folder / "samples.png", grid(images[:, ::2, ::2, None] / 255, len(rows), 4))


def main() -> None:
    flags = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    flags.add_argument("--folder", type=Path, default=Path("runs/fashion_gans"))
    flags.add_argument("--epochs", type=int, default=5)
    flags.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    options = flags.parse_args()
    for row in options.rows:
        config, draws, changes = ROWS[row]
        workdir = options.folder / row
        every = {"log": 100, "validate": 1_000, "sample": 1_000, "checkpoint": 500}
        changes = [*changes, f"steps={steps(options.epochs, draws)}"]
        changes += [f"every.{name}={number}" for name, number in every.items()]
        command(
            *("run", f"--config=experiments/{config}", f"--workdir={workdir}"),
            *(f"--config.{change}" for change in changes),
        )
        if not (workdir / "evaluations.jsonl").exists():
            command("evaluate", f"--workdir={workdir}", f"--metrics={','.join(METRICS)}")
    for metric in METRICS:
        table = compared({row: last(options.folder / row, metric) for row in options.rows})
        columns = next(iter(table.values())).keys()
        print(f"{metric:16}" + "".join(f"{name:>18}" for name in columns))
        for row, values in table.items():
            print(f"  {row:14}" + "".join(f"{values[name]:18.3f}" for name in columns))
    picture(options.folder, options.rows)


if __name__ == "__main__":
    main()
