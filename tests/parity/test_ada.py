"""The augmentations of ADA are those of the authors' code, with the same random numbers."""

from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erfinv, ndtr

from latentgen.objectives.augment import ada
from latentgen.objectives.augment.warp import band_filters
from tests.parity.weights import close, direction, fill, summary

CASES = {  # groups, p, shape of the authors' images
    "bgc": ("bgc", 0.8, (6, 3, 16, 16)),
    "r3gan": ("r3gan", 0.5, (6, 3, 12, 12)),
    "grey": ("bgc", 0.9, (4, 1, 12, 10)),
    "rest": ("rest", 0.7, (4, 3, 24, 22)),
}
REST = {"imgfilter": 1.0, "noise": 1.0, "cutout": 1.0}


@cache
def theirs():
    return np.load(Path(__file__).with_name("ada.npz"))


def nchw(x):
    return np.moveaxis(np.asarray(x), -1, 1)


def number(case, name, n, count, normal):
    """The authors' numbers: one call of each, but for the bands of `imgfilter`."""
    shape = {
        "xint": (n, 2),
        "xfrac": (n, 2),
        "cutout": (n, 2, 1, 1, 1),
        **dict.fromkeys(("lumaflip", "saturation"), (n, 1, 1)),
        "noise": (n, 1, 1, 1),
    }.get(name, (n,))
    drawn = fill(f"{case} {name} number", shape, 1.0)
    if name == "imgfilter":
        drawn = np.stack([fill(f"{case} {name} number {b}", shape, 1.0) for b in range(4)], 1)
    return jnp.asarray((drawn if normal else ndtr(drawn)).reshape(n, count))


def chance(case, name, n):
    shape = {
        **dict.fromkeys(("xint", "xfrac"), (n, 1)),
        **dict.fromkeys(("lumaflip", "saturation"), (n, 1, 1)),
        "noise": (n, 1, 1, 1),
        "cutout": (n, 1, 1, 1, 1),
    }.get(name, (n,))
    if name == "imgfilter":
        drawn = [fill(f"{case} {name} chance {band}", shape, 1.0) for band in range(4)]
        return jnp.asarray(ndtr(np.stack(drawn, axis=1)))
    return jnp.asarray(ndtr(fill(f"{case} {name} chance", shape, 1.0)).reshape(n, 1))


def same(case, x, transform):
    """Outputs and the gradient of their product with a direction, both within 1e-5."""
    shape = theirs()[case].shape
    weight = jnp.asarray(np.moveaxis(direction(case, shape), 1, -1), jnp.float32)

    @jax.jit
    def both(x):
        return transform(x), jax.grad(lambda x: (transform(x)[: shape[0]] * weight).sum())(x)

    out, gradient = both(x)
    assert close(nchw(out)[: shape[0]], theirs()[case])
    assert close(summary(case, nchw(gradient)), theirs()[f"{case} gradient"])


def images(case):
    return jnp.asarray(np.moveaxis(fill(f"{case} images", CASES[case][2], 0.5), 1, -1))


@pytest.mark.parametrize("case", CASES)
def test_augmentations_and_their_gradients_are_the_authors(case):
    name, p, (n, channels, height, width) = CASES[case]
    strengths = REST if name == "rest" else ada.GROUPS[name]
    draws = ada.Draws(
        {op: chance(case, op, n) for op in strengths},
        {
            op: number(case, op, n, ada.OPERATIONS[op].numbers, ada.OPERATIONS[op].normal)
            for op in strengths
        },
    )
    pixels = fill(f"{case} noise pixels", (n, channels, height, width), 1.0)
    values, noise = ada.values(draws, p, strengths), jnp.asarray(np.moveaxis(pixels, 1, -1))
    assert any((values[op] != ada.OPERATIONS[op].neutral).any() for op in values)
    same(case, images(case), lambda x: ada.transform(x, values, noise))


@pytest.mark.parametrize("percentile", [0.1, 0.5, 0.9])
def test_every_operation_at_a_percentile_is_the_authors(percentile):
    """Their code for this has normal numbers of std 1 / sqrt(2), and rotates once."""

    def value(name):
        operation = ada.OPERATIONS[name]
        z = erfinv(2 * percentile - 1) if operation.normal else percentile
        turned = 0.5 if name == "rotate_after" else z
        return operation.value(jnp.full((6, operation.numbers), turned, jnp.float32))

    values = {name: value(name) for name in ada.GROUPS["bgc"]}
    same(f"bgc at {percentile}", images("bgc"), lambda x: ada.transform(x, values))


def test_band_filters_are_the_authors_and_add_up_to_the_identity():
    bank = band_filters()
    assert close(bank, theirs()["bank"], 1e-6)
    identity = np.zeros(bank.shape[1])
    identity[len(identity) // 2] = 1
    np.testing.assert_allclose(bank.sum(axis=0), identity, atol=1e-9)
