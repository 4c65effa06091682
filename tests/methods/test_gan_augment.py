"""Augmentation of D's images in training, and the adaptive probability p."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from latentgen.core.schedules import Schedule
from latentgen.core.types import Batch, Method, Net
from latentgen.core.wrappers import scheduled
from latentgen.methods.gan import Model, Objective, gan
from latentgen.objectives.adversarial import LOSSES
from latentgen.objectives.augment import Augmentation
from latentgen.objectives.augment.control import Control
from latentgen.objectives.penalties import PENALTIES
from latentgen.objectives.regularizers import Regularizers
from latentgen.probability import priors

SHAPE, N, KEY = (2, 2, 1), 8, jax.random.key(0)
W = np.array([1.0, -2.0, 0.5, 1.5], np.float32)
DATA = Batch(jax.random.uniform(KEY, (3, N, *SHAPE)), jnp.zeros((3, N), jnp.int32))


def linear(weight: np.ndarray, bias: float = 0.0) -> Net:
    """l(x) = w x + b; its parameters are w and b."""

    def apply(params, stats, x, *, train, key=None):
        return x.reshape(len(x), -1) @ params["w"][:, None] + params["b"], stats

    first = {"w": jnp.asarray(weight), "b": jnp.float32(bias)}
    return Net(lambda key, x: (first, {}), apply)


def flat(value: float = 0.25) -> Net:
    """A generator whose only parameter is the value of all pixels."""

    def apply(params, stats, z, *, train, key=None):
        return jnp.full((len(z), *SHAPE), 1.0) * params["x"], stats

    return Net(lambda key, z: ({"x": jnp.float32(value)}, {}), apply)


def made(discriminator: Net, steps: int = 1, packing: int = 1, **objective) -> Method:
    still = optax.sgd(0.0)
    model = Model(
        flat(), discriminator, priors.fixed(priors.PRIORS["normal"](3)), 3, packing=packing
    )
    whole = Objective(LOSSES["wasserstein"], images_per_step=steps * N, **objective)
    return gan(model, whole, still, still, SHAPE, steps)


def run(method: Method, steps: int):
    state, step, metrics = method.init(KEY), jax.jit(method.step), {}
    for i in range(steps):
        batches = jax.tree.map(lambda a: a[: method.draws], DATA)
        state, metrics = step(state, i, batches, KEY)
    return state, metrics


def doubled(x: jax.Array, key: jax.Array, p: Callable) -> jax.Array:
    return 2 * x


def test_the_discriminator_sees_augmented_examples_in_training_alone() -> None:
    method = made(
        linear(W),
        augmentation=Augmentation(doubled),
        penalty=PENALTIES["r1"],
        weight=0.0,
    )
    state, metrics = run(method, 1)
    plain = np.asarray(DATA.x[0]).reshape(N, -1) @ W
    np.testing.assert_allclose(metrics["real_logit"], 2 * plain.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["synthetic_logit"], 2 * 0.25 * W.sum(), rtol=1e-5)
    np.testing.assert_allclose(metrics["penalty"], (2 * W) @ (2 * W) / 2, rtol=1e-5)
    np.testing.assert_allclose(
        metrics["generator_loss"].mean(), 2 * (plain.mean() - 0.25 * W.sum())
    )
    batch = jax.tree.map(lambda a: a[0], DATA)
    terms = method.terms(state, jnp.int32(0), batch, KEY)
    np.testing.assert_allclose(terms["real_logit"], plain, rtol=1e-5)
    np.testing.assert_allclose(method.probes["discriminate"](state, batch.x), plain, rtol=1e-5)


@pytest.mark.parametrize("packing", [1, 2])
def test_each_example_has_draws_of_its_own(packing: int) -> None:
    """D is the sum of its inputs, and T adds to all pixels of an example one number of its key."""
    seen = []

    def noisy(x: jax.Array, key: jax.Array, p: float) -> jax.Array:
        draws = jax.random.normal(key, (len(x), 1, 1, 1))
        jax.debug.callback(lambda d: seen.append(np.asarray(d).ravel()), draws)
        return x + draws

    size = packing * W.size
    method = made(linear(np.ones(size, np.float32)), 1, packing, augmentation=Augmentation(noisy))
    jax.block_until_ready(run(method, 1))
    jax.effects_barrier()
    assert {len(each) for each in seen} == {N}
    assert len(np.unique(np.concatenate(seen))) >= 3 * N  # real, synthetic, and synthetic for G


def test_p_is_that_of_the_images_seen() -> None:
    schedule = Schedule("linear", 0.0, 1.0, 10 * N)

    def make(hypers):
        return made(linear(W), augmentation=Augmentation(lambda x, key, p: p * x, hypers["p"]))

    method = scheduled(make, {"p": schedule}, N)
    _, metrics = run(method, 6)
    np.testing.assert_allclose(metrics["augment_p"], 0.5, rtol=1e-6)
    plain = np.asarray(DATA.x[0]).reshape(N, -1) @ W
    np.testing.assert_allclose(metrics["real_logit"], 0.5 * plain.mean(), rtol=1e-5)


@pytest.mark.parametrize(("bias", "sign"), [(1.0, 1), (-1.0, -1)])
def test_p_moves_with_updates_of_the_discriminator(bias: float, sign: int) -> None:
    """D is certain: 6 updates are 3 intervals of 2, and p moves by 16 / 64 in each."""
    augmentation = Augmentation(lambda x, key, p: x, 0.5, Control(0.6, 2, 64.0))
    state, metrics = run(made(linear(0 * W, bias), 3, augmentation=augmentation), 2)
    np.testing.assert_allclose(state.stats["augment"]["p"], max(0.5 + sign * 3 / 4, 0))
    assert state.stats["augment"]["updates"] == 0
    assert state.params["augment"] == {}
    # Before the updates 4, 5 and 6, of which the second had been the last of an interval.
    means = np.mean([0.5 + sign / 4, max(0.5 + sign / 2, 0), max(0.5 + sign / 2, 0)])
    np.testing.assert_allclose(metrics["augment_p"], means, rtol=1e-6)


def test_only_the_best_teach_the_generator() -> None:
    """With top = 0.5 the generator's loss is a mean over the larger half of the scores."""

    def by_code(params, stats, z, *, train, key=None):
        x = jnp.broadcast_to(z[:, :1, None, None], (len(z), *SHAPE))
        return x * params["x"], stats

    net = Net(lambda key, z: ({"x": jnp.float32(1.0)}, {}), by_code)
    model = Model(net, linear(np.full(4, 0.25)), priors.fixed(priors.PRIORS["normal"](3)), 3)
    objective = Objective(LOSSES["nonsaturating"], regularizers=Regularizers(top=0.5))
    method = gan(model, objective, optax.sgd(1.0), optax.sgd(0.0), SHAPE)
    state, metrics = run(method, 1)
    # x has moved by the mean over the best half of sigmoid(-s) s, as s = x z_1 with x = 1.
    whole = gan(
        model,
        objective._replace(regularizers=Regularizers()),
        optax.sgd(1.0),
        optax.sgd(0.0),
        SHAPE,
    )
    other, plain = run(whole, 1)
    assert metrics["generator_loss"] < plain["generator_loss"]
    assert state.params["generator"]["x"] > other.params["generator"]["x"]


def test_lecam_is_averaged_over_turns_of_the_discriminator() -> None:
    method = made(linear(W), 3, regularizers=Regularizers(lecam=2.0))
    state, metrics = run(method, 1)
    real = np.asarray(DATA.x).reshape(3, N, -1) @ W
    synthetic = 0.25 * W.sum()
    weights, expected = np.zeros(0), []
    for turn in range(3):
        weights = np.append(0.99 * weights, 0.01)
        b = (weights * real[: turn + 1].mean(axis=1)).sum() / weights.sum()
        below = np.maximum(0, real[turn] - synthetic) ** 2
        expected.append(2 * (below + np.maximum(0, b - synthetic) ** 2).mean())
    np.testing.assert_allclose(metrics["lecam"], np.mean(expected), rtol=1e-4)
    np.testing.assert_allclose(state.stats["lecam"]["weight"], weights.sum(), rtol=1e-5)


def test_a_normalized_discriminator_is_so_in_training_and_in_its_probe() -> None:
    model = Model(flat(), linear(W), priors.fixed(priors.PRIORS["normal"](3)), 3)
    model = model._replace(normalize_gradient=True)
    still = optax.sgd(0.0)
    method = gan(model, Objective(LOSSES["wasserstein"]), still, still, SHAPE)
    state, metrics = run(method, 1)
    plain = np.asarray(DATA.x[0]).reshape(N, -1) @ W
    expected = plain / (np.linalg.norm(W) + abs(plain))
    np.testing.assert_allclose(metrics["real_logit"], expected.mean(), rtol=1e-5)
    found = method.probes["discriminate"](state, DATA.x[0])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
