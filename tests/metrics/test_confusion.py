"""Class shares estimated from a classifier's predictions: known shares, some of them 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.metrics.confusion import captured, chances, confusions, through, true_shares

# Of 10 classes the first four are mistaken for each other, class 6 most often (as shirts are).
CHANCE = 0.98 * np.eye(10) + 0.002
for i in (0, 2, 4):
    CHANCE[i, i] -= 0.12
    CHANCE[i, 6] += 0.12
    CHANCE[6, i] += 0.08
CHANCE[6, 6] -= 0.24
CHANCE /= CHANCE.sum(axis=1, keepdims=True)


def verdicts(rng: np.random.Generator, true: np.ndarray) -> np.ndarray:
    """Draw the classifier's predictions for examples of these classes."""
    return (rng.random((len(true), 1)) > CHANCE[true].cumsum(axis=1)[:, :-1]).sum(axis=1)


def known(rng: np.random.Generator, each: int = 500) -> jax.Array:
    """Confusions of labelled examples."""
    true = np.repeat(np.arange(10), each)
    return confusions(jnp.asarray(true), jnp.asarray(verdicts(rng, true)), 10)


def test_confusions_are_counts_and_their_chances_sum_to_1() -> None:
    true, taken = jnp.array([0, 0, 1, 2]), jnp.array([0, 1, 1, 2])
    found = confusions(true, taken, 3)
    np.testing.assert_array_equal(found, [[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(chances(found).sum(axis=1), 1, rtol=1e-6)


def test_exact_verdicts_give_back_the_shares() -> None:
    share = np.random.default_rng(0).dirichlet(np.ones(10))
    counts = 1e6 * share @ CHANCE
    found = true_shares(jnp.asarray(counts, jnp.float32), jnp.asarray(CHANCE, jnp.float32))
    np.testing.assert_allclose(found, share, atol=2e-3)


def test_many_planes_are_independent() -> None:
    share = np.random.default_rng(1).dirichlet(np.ones(9)).reshape(3, 3)
    chance = np.random.default_rng(2).dirichlet(np.ones(3), size=3)
    found = through(jnp.asarray(share.reshape(-1)), jnp.asarray(chance), 2)
    expected = np.einsum("ab,ac,bd->cd", share, chance, chance)
    np.testing.assert_allclose(found, expected.reshape(-1), rtol=1e-5)


COUNT = jax.jit(captured, static_argnums=(4, 5))


@pytest.mark.parametrize("removed", [(), (6,), (4, 6), (0, 2, 4, 6, 9)])
def test_classes_that_were_removed_are_missed_where_counts_miss_none(removed: tuple) -> None:
    """With 10,000 samples every class is predicted at times, even if it was removed."""
    there = np.setdiff1d(np.arange(10), removed)
    inside = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        taken = verdicts(rng, rng.choice(there, 10_000))
        counts = jnp.asarray(np.bincount(taken, minlength=10), jnp.float32)
        assert (counts > 0).all()  # the old count: 10 of 10
        confused = known(rng)
        found = COUNT(jax.random.key(seed), counts, confused, jnp.full(10, 0.01), 1, 40)
        assert abs(int(found.modes) - len(there)) <= 1
        inside += bool(found.low <= len(there) <= found.high)
        share = true_shares(counts, chances(confused))
        np.testing.assert_allclose(share, np.isin(np.arange(10), there) / len(there), atol=0.035)
        q = np.maximum(np.asarray(share), 1e-12)
        np.testing.assert_allclose((q * np.log(10 * q)).sum(), np.log(10 / len(there)), atol=0.05)
    assert inside >= 8  # of ten intervals of 95%: fewer once in 90


@pytest.mark.parametrize("removed", [(), (6,), (0, 2, 4, 6, 9)])
def test_of_three_planes_without_a_class_the_other_modes_are_left(removed: tuple) -> None:
    """26,000 samples; raw counts find nearly all of 1,000, as a public set's 992 of 729."""
    there = np.setdiff1d(np.arange(10), removed)
    true, rng = len(there) ** 3, np.random.default_rng(0)
    planes = verdicts(rng, rng.choice(there, 3 * 26_000)).reshape(-1, 3)
    counts = np.bincount(planes @ [100, 10, 1], minlength=1000)
    assert (counts > 0).sum() > min(950, 3 * true)
    least = jnp.full(1000, 0.5e-3)
    found = COUNT(
        jax.random.key(0), jnp.asarray(counts, jnp.float32), known(rng, 3_000), least, 3, 20
    )
    assert found.low <= true <= found.high
    assert abs(int(found.modes) - true) < 0.05 * true
