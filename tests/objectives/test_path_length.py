"""Path lengths of a generator that is linear in w, whose derivative is known."""

import jax
import jax.numpy as jnp
import numpy as np

from latentgen.objectives.path_length import lengths_of, penalized

RNG = np.random.default_rng(0)
N, LEVELS, WIDTH, SIDE = 3, 2, 4, 2
J = RNG.normal(size=(LEVELS, WIDTH, SIDE, SIDE, 1)).astype(np.float32)
W = jnp.asarray(RNG.normal(size=(N, LEVELS, WIDTH)), jnp.float32)
Y = jnp.asarray(RNG.normal(size=(N, SIDE, SIDE, 1)), jnp.float32)


def lengths(jacobian):
    return lengths_of(lambda w: jnp.einsum("nld,ldhwc->nhwc", w, jacobian), W, Y)


def test_lengths_of_a_linear_generator():
    slope = np.einsum("ldhwc,nhwc->nld", J, Y)
    expected = np.sqrt((slope**2).sum(axis=2).mean(axis=1))
    np.testing.assert_allclose(lengths(jnp.asarray(J)), expected, rtol=1e-5)


def test_the_penalty_and_its_gradient_in_the_scale_of_the_generator():
    """Lengths are s |J^T y|: the mean of (s l_n - a - .01 (s mean l - a))^2 in s, by hand."""
    base, a, s = np.asarray(lengths(jnp.asarray(J)), np.float64), 0.7, 1.3

    def penalty(scale):
        value, average = penalized(lengths(scale * jnp.asarray(J)), jnp.float32(a))
        return value.mean(), average

    (value, average), slope = jax.value_and_grad(penalty, has_aux=True)(jnp.float32(s))
    moved = a + 0.01 * (s * base.mean() - a)
    deviation = s * base - moved
    np.testing.assert_allclose(average, moved, rtol=1e-6)
    np.testing.assert_allclose(value, (deviation**2).mean(), rtol=1e-5)
    by_hand = (2 * deviation * (base - 0.01 * base.mean())).mean()
    np.testing.assert_allclose(slope, by_hand, rtol=1e-5)
