"""Faults that features of sprites see: a Frechet distance for each, as a table.

    python -m experiments.benchmarks.sprite_features [--images 5000]

Images are compared with test images. Training images are the floor, uniform noise is the ceiling,
and each other row has one planted fault.
"""

import argparse
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from latentgen.data import sprites
from latentgen.evaluation import features
from latentgen.metrics.frechet import Moments, frechet_distance, moments

SIDE = 32


def blurred(x: np.ndarray, width: int) -> np.ndarray:
    """Replace each pixel by the mean of width x width pixels, padded with black."""
    half = width // 2
    wide = np.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
    parts = [wide[:, i : i + SIDE, j : j + SIDE] for i in range(width) for j in range(width)]
    return np.mean(parts, axis=0, dtype=np.float32)


def rows(n: int) -> dict[str, Callable[[], np.ndarray]]:
    """Return the images of each row, by its words."""
    index = sprites.sample_indices("train", True)
    factors = sprites.factors_of(index, True)

    def train(rows: np.ndarray) -> np.ndarray:
        return sprites.render(factors[rows], SIDE) / np.float32(255)

    first = np.arange(n)
    red = np.concatenate([factors[:n, :5], np.zeros((n, 1), factors.dtype)], axis=1)
    return {
        "training images (the floor)": lambda: train(first),
        "uniform noise": lambda: np.random.default_rng(0).random((n, SIDE, SIDE, 3), np.float32),
        "means of 3x3 pixels": lambda: blurred(train(first), 3),
        "means of 5x5 pixels": lambda: blurred(train(first), 5),
        "without triangles": lambda: train(np.flatnonzero(factors[:, 0] != 3)[:n]),
        "without one hue": lambda: train(np.flatnonzero(factors[:, 5] != 3)[:n]),
        "100 images, again and again": lambda: train(first % 100),
        "all red": lambda: sprites.render(red, SIDE) / np.float32(255),
        "in grey, by the mean of the channels": lambda: np.repeat(
            train(first).mean(axis=-1, keepdims=True), 3, axis=-1
        ),
        "channels exchanged (R, G, B to G, B, R)": lambda: train(first)[..., [1, 2, 0]],
        "upside down": lambda: train(first)[:, ::-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=5_000)
    n = parser.parse_args().images
    extract = features.extractor("sprites", (SIDE, SIDE, 3), None).features

    def measured(x: np.ndarray) -> Moments:
        parts = [np.asarray(extract(jnp.asarray(part))) for part in np.array_split(x, 5)]
        return moments(jnp.asarray(np.concatenate(parts)))

    test = sprites.factors_of(sprites.sample_indices("test", True)[:n], True)
    real = measured(sprites.render(test, SIDE) / np.float32(255))
    print("| in place of samples | Frechet distance |\n|---|---|")
    for words, images in rows(n).items():
        print(f"| {words} | {float(frechet_distance(real, measured(images()))):.3g} |", flush=True)


if __name__ == "__main__":
    main()
