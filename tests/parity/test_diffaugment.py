"""DiffAugment is that of the authors' code, with the same random numbers."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

from latentgen.objectives.augment import diffaugment
from tests.parity.weights import close, direction, fill, summary

CASES = {  # policy, shape of the authors' images
    "all": ("color,translation,cutout", (6, 3, 12, 9)),
    "grey": ("color,cutout,translation", (4, 1, 11, 12)),
}


def uniform(case, name, *shape):
    return ndtr(fill(f"{case} {name}", shape, 1.0))


def numbers(case, operation, n, size):
    """The authors' random numbers, from the same uniform ones."""
    if operation in diffaugment.POLICIES["color"]:
        return jnp.asarray(uniform(case, operation, n, 1, 1, 1).reshape(n))
    both = []
    for axis, side in zip(("rows", "columns"), size, strict=True):
        low, high = {
            "translation": (-int(side / 8 + 0.5), int(side / 8 + 0.5) + 1),
            "cutout": (0, side + 1 - int(side / 2 + 0.5) % 2),
        }[operation]
        u = uniform(case, f"{operation} {axis}", n, 1, 1).reshape(n)
        both.append(low + np.floor(u * (high - low)).astype(np.int32))
    return jnp.asarray(np.stack(both, axis=1))


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_the_authors(case):
    theirs = np.load(Path(__file__).with_name("diffaugment.npz"))
    policy, shape = CASES[case]
    n, _, *size = shape
    operations = [op for each in policy.split(",") for op in diffaugment.POLICIES[each]]
    draws = {op: numbers(case, op, n, size) for op in operations}
    x = jnp.asarray(np.moveaxis(fill(f"{case} images", shape, 0.5), 1, -1))
    weight = jnp.asarray(np.moveaxis(direction(case, shape), 1, -1), jnp.float32)
    out = diffaugment.transform(x, draws)
    gradient = jax.grad(lambda x: (diffaugment.transform(x, draws) * weight).sum())(x)
    assert close(np.moveaxis(np.asarray(out), -1, 1), theirs[case])
    found = summary(case, np.moveaxis(np.asarray(gradient), -1, 1))
    assert close(found, theirs[f"{case} gradient"])
