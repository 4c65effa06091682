"""Distances by matrix products: the same four values, copies and ties included."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.metrics import prdc

K = (3, 5)
jitted = jax.jit(prdc.prdc, static_argnames=("k_precision", "k_density", "block"))


def naive(real: np.ndarray, synthetic: np.ndarray) -> list[float]:
    """The papers' formulas; every distance from differences of features."""
    away = lambda x, y: np.sqrt(((x[:, None] - y[None]) ** 2).sum(axis=2))  # noqa: E731
    own, other = np.sort(away(real, real), axis=1), np.sort(away(synthetic, synthetic), axis=1)
    between = away(real, synthetic)
    near, dense = (between <= own[:, k][:, None] for k in K)
    recalled = between <= other[:, K[0]][None, :]
    share = dense.sum() / (K[1] * len(synthetic))
    return [near.any(axis=0).mean(), recalled.any(axis=1).mean(), share, dense.any(axis=1).mean()]


def sets(kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 12)), 0.2 + rng.normal(size=(45, 12))
    if kind == "far from 0, near each other":
        return 1e5 + 1e-4 * x, 1e5 + 1e-4 * y
    if kind == "whole numbers, many ties":
        return np.round(x[:, :2]), np.round(y[:, :2])
    if kind == "copies of the real":
        return x, np.concatenate([x[:20], y[:25]])
    if kind == "all alike":
        return x, np.repeat(y[:1], 45, axis=0)
    return x, y


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "kind",
    ["plain", "far from 0, near each other", "whole numbers, many ties", "copies of the real",
     "all alike"],
)  # fmt: skip
def test_products_give_what_differences_give(kind: str) -> None:
    real, synthetic = sets(kind)
    found = jitted(jnp.asarray(real), jnp.asarray(synthetic), *K, 32)
    np.testing.assert_allclose(found, naive(real, synthetic), rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_double_precision_goes_through_products_and_computes_each_distance_once() -> None:
    """Three of them: among the real, among the synthetic, and between; none of all pairs."""
    shapes = [jax.ShapeDtypeStruct((n, 3), jnp.float64) for n in (500, 400)]
    program = str(jax.make_jaxpr(lambda x, y: prdc.prdc(x, y, *K, 50))(*shapes))
    assert program.count("dot_general") == 3
    sizes = [math.prod(map(int, s.split(","))) for s in re.findall(r"\w\[([\d,]+)\]", program)]
    assert max(sizes) <= 50 * (50 + 3 + K[1] + prdc.SPARE)
