"""A pass over a split: every example once, padding left out, errors as statistics has them."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from latentgen.core.types import Batch
from latentgen.data.dataset import Examples
from latentgen.data.pipeline import iterate_split
from latentgen.data.preprocess import PREPROCESS
from latentgen.training.validation import estimate, evaluate


def test_mean_and_standard_error_are_scipys() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=101)
    found = estimate(values)
    np.testing.assert_allclose(found.mean, values.mean(), rtol=1e-12)
    np.testing.assert_allclose(found.standard_error, scipy.stats.sem(values), rtol=1e-12)
    assert found.n == 101
    assert np.isnan(estimate(np.ones(1)).standard_error)


def test_every_example_counts_once_whatever_the_batch() -> None:
    x = np.arange(23, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    split = Examples(x, np.zeros(23, np.int32))

    def terms(state, step, batch: Batch, key: jax.Array) -> dict:
        return {"value": batch.x[:, 0] ** 2 + state, "step": jnp.full(len(batch.x), step)}

    for size in (1, 4, 23):
        batches = iterate_split(split, PREPROCESS["none"], size, jax.random.key(0))
        found = evaluate(jax.jit(terms), 0.5, 7, batches, jax.random.key(0))
        assert found["value"].n == 23
        np.testing.assert_allclose(found["value"].mean, (x[:, 0] ** 2).mean() + 0.5, rtol=1e-6)
        assert found["step"].mean == 6  # the weights of the seventh update


def test_the_same_key_gives_the_same_noise_and_batches_differ() -> None:
    split = Examples(np.zeros((20, 2), np.float32), np.zeros(20, np.int32))

    def terms(state, step, batch: Batch, key: jax.Array) -> dict:
        return {"noise": jax.random.normal(key, (len(batch.x),))}

    def once(seed: int) -> float:
        batches = iterate_split(split, PREPROCESS["none"], 10, jax.random.key(0))
        return evaluate(jax.jit(terms), None, 1, batches, jax.random.key(seed))["noise"].mean

    assert once(0) == once(0) != once(1)
