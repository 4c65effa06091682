"""The optimizer and the initial weights of Titsias & Ruiz 2019, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments import vae
from latentgen.configs.components import SCHEDULES, optimizer
from latentgen.configs.section import Section
from latentgen.networks import mlp

STEPS, BATCH = 400_000, 100


def test_updates_are_those_of_summed_gradients_with_a_rate_of_its_own_for_the_std() -> None:
    rng = np.random.default_rng(0)
    leaf = lambda: rng.normal(size=3).astype(np.float32)  # noqa: E731
    params = {
        "encoder": {"MLP_0": {"w": leaf()}, "MLP_1": {"w": leaf()}},
        "decoder": {"MLP_1": {"w": leaf()}},
    }
    tx = optimizer(Section("config.optimizer", vae.uivi().optimizer.to_dict()), STEPS)
    state, update = tx.init(params), jax.jit(tx.update)
    means = [jax.tree.map(lambda a: rng.normal(size=a.shape) / 50, params) for _ in range(4)]
    second = dict.fromkeys(("mean", "std", "decoder"), 0.0)
    for mean in means:
        updates, state = update(jax.tree.map(np.float32, mean), state, params)
        for name, rate, pick in (
            ("mean", 1e-3, lambda tree: tree["encoder"]["MLP_0"]["w"]),
            ("std", 2e-4, lambda tree: tree["encoder"]["MLP_1"]["w"]),
            ("decoder", 1e-3, lambda tree: tree["decoder"]["MLP_1"]["w"]),
        ):
            total = BATCH * pick(mean)
            second[name] = 0.9 * second[name] + 0.1 * total**2
            np.testing.assert_allclose(
                pick(updates), -rate * total / (1 + np.sqrt(second[name])), rtol=1e-4
            )


def test_the_rate_falls_by_a_tenth_every_15000_steps() -> None:
    rate = SCHEDULES["staircase"](1.0, STEPS)
    found = [float(rate(step)) for step in (0, 14_999, 15_000, 30_000, 399_999)]
    np.testing.assert_allclose(found, [1, 1, 0.9, 0.81, 0.9**26], rtol=1e-6)


def test_weights_and_biases_begin_with_the_variance_of_their_layer() -> None:
    net = mlp.decoder((28, 28, 1), (200, 300), init="titsias")
    params, _ = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 10)))
    leaves = {leaf.shape: leaf for leaf in jax.tree.leaves(params)}
    assert len(leaves) == 6
    for fan_in, fan_out, std in ((10, 200, 200**-0.5), (200, 300, 300**-0.5), (300, 784, 1.0)):
        np.testing.assert_allclose(leaves[fan_in, fan_out].std(), std, rtol=0.1)
        np.testing.assert_allclose(leaves[(fan_out,)].std(), std, rtol=0.15)
