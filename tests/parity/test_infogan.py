"""InfoGAN against its authors' code: losses and gradients of both players in one step."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import gan as recipes
from latentgen import configs
from latentgen.core.keys import run_key
from latentgen.core.types import Batch, State
from latentgen.methods.gan import Model, Objective, gan
from latentgen.networks import infogan
from latentgen.networks.net import bound_output
from latentgen.objectives.adversarial import LOSSES
from latentgen.probability.codes import Codes
from latentgen.probability.priors import LearnedPrior, Prior
from tests.parity.weights import close, fill, summary

THEIRS = np.load(Path(__file__).with_name("infogan.npz"))
BATCH, SIDE = 12, 8
MEANS = [*range(10), 10, 12]  # of Q's 14 outputs, without the unused standard deviations
NAMES = {
    "discriminator": {
        ("Conv_0",): "d_net/custom_conv2d_0",
        ("Conv_1",): "d_net/custom_conv2d_1",
        ("BatchNorm_0",): "d_net/conv_batch_norm_0",
        ("body", "Dense_0"): "d_net/custom_fully_connected_0",
        ("body", "BatchNorm_0"): "d_net/fc_batch_norm_0",
        ("logit",): "d_net/custom_fully_connected_1",
        ("head", "Dense_0"): "d_net/custom_fully_connected_2",
        ("head", "BatchNorm_0"): "d_net/fc_batch_norm_1",
        ("others",): "d_net/custom_fully_connected_3",
    },
    "generator": {
        ("Dense_0", "Dense_0"): "g_net/custom_fully_connected_0",
        ("Dense_0", "BatchNorm_0"): "g_net/fc_batch_norm_0",
        ("Dense_0", "Dense_1"): "g_net/custom_fully_connected_1",
        ("Dense_0", "BatchNorm_1"): "g_net/fc_batch_norm_1",
        ("Conv_0",): "g_net/custom_deconv2d_0",
        ("BatchNorm_0",): "g_net/conv_batch_norm_0",
        ("Conv_1",): "g_net/custom_deconv2d_1",
    },
}
"""Our module -> theirs."""


def their_name(player: str, path: tuple[str, ...]) -> str:
    *module, leaf = path
    theirs = NAMES[player][tuple(module)]
    kernel = "Matrix" if "fully" in theirs else "w"
    bias = "bias" if "fully" in theirs else "biases"
    leaves = {"kernel": kernel, "bias": bias, "scale": "gamma"}
    return f"{theirs}/{'beta' if 'norm' in theirs and leaf == 'bias' else leaves[leaf]}"


def to_theirs(name: str, value: np.ndarray) -> np.ndarray:
    """Our layout -> theirs: transposed convolutions have turned kernels, outputs before inputs."""
    if "deconv" in name and name.endswith("/w"):
        return value[::-1, ::-1].swapaxes(2, 3)
    if "connected_3" in name:
        wide = np.zeros((*value.shape[:-1], 14), value.dtype)
        wide[..., MEANS] = value
        return wide
    return value


def their_weights(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Weights as the script made them, in our layout."""
    turned, last = "deconv" in name and name.endswith("/w"), "connected_3" in name
    if turned:
        shape = (*shape[:2], shape[3], shape[2])
    shape = (*shape[:-1], 14) if last else shape
    scale = None if len(shape) == 1 else float(np.prod(shape[:-1])) ** -0.5
    value = fill(name, shape, scale, 1.0 if name.endswith("gamma") else 0.0)
    value = value[::-1, ::-1].swapaxes(2, 3) if turned else value
    return value[..., MEANS] if last else value


def keys(path: tuple) -> tuple[str, ...]:
    return tuple(entry.key for entry in path)


def test_one_step_has_the_authors_losses_and_gradients() -> None:
    """Compare D's loss (with Q) and G's, and their gradients, at the same weights and data."""
    noise = np.tanh(fill("noise", (BATCH, 62), 1.0))
    category = np.eye(10, dtype=np.float32)[np.arange(BATCH) % 10]
    z = np.concatenate([noise, category, np.tanh(fill("codes", (BATCH, 2), 1.0))], axis=1)
    x = (1 / (1 + np.exp(-fill("x", (BATCH, SIDE * SIDE), 1.0)))).reshape(BATCH, SIDE, SIDE, 1)
    fixed = Prior(74, lambda key, n: jnp.asarray(z), lambda z: jnp.zeros(len(z)))
    codes = Codes((10,), 2)
    model = Model(
        bound_output(infogan.decoder((SIDE, SIDE, 1)), 0.0, 1.0),
        infogan.encoder(outputs=1 + codes.size),
        LearnedPrior(lambda key: {}, lambda params, encode: fixed),
        74,
        codes=codes,
    )
    keep = optax.chain(optax.trace(0.0), optax.scale(0.0))  # its state is the gradient
    method = gan(model, Objective(LOSSES["nonsaturating"]), keep, keep, (SIDE, SIDE, 1))
    start: State = jax.eval_shape(method.init, run_key(0))

    def weights(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        player, *inside = keys(path)
        return their_weights(their_name(player, tuple(inside)), leaf.shape)

    params = jax.tree_util.tree_map_with_path(weights, start.params)
    zeros = lambda tree: jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), tree)  # noqa: E731
    state = State(params, zeros(start.stats), zeros(start.opt))
    batch = Batch(jnp.asarray(x)[None], jnp.zeros((1, BATCH), jnp.int32))
    end, metrics = jax.jit(method.step)(state, jnp.int32(0), batch, run_key(0))

    assert close(metrics["categorical_information"], THEIRS["MI_disc"])
    assert close(metrics["continuous_information"], THEIRS["MI_cont"])
    assert close(metrics["generator_loss"], THEIRS["generator_loss"])
    assert close(metrics["cost"] + THEIRS["MI"], -THEIRS["discriminator_loss"])
    traces = {"discriminator": end.opt[0][1][0].trace, "generator": end.opt[1][0].trace}
    seen = set()
    for player, trace in traces.items():
        for path, gradient in jax.tree_util.tree_leaves_with_path(trace[player]):
            name = their_name(player, keys(path))
            seen.add(f"gradient of {name}")
            found = summary(name, to_theirs(name, np.asarray(gradient)))
            theirs = THEIRS[f"gradient of {name}"]
            if theirs[0] < 1e-10:  # a bias before batch norm
                assert found[0] < 1e-5
            else:
                np.testing.assert_allclose(
                    found, theirs, rtol=0, atol=1e-5 * theirs[0], err_msg=name
                )
    assert seen == {name for name in THEIRS if name.startswith("gradient")}


def test_the_recipe_has_the_authors_parameters() -> None:
    """We lack only Q's outputs for two fixed standard deviations: 2 x (128 + 1) unused."""
    method = configs.experiment(recipes.infogan().to_dict()).plan.wire((28, 28, 1))
    params = jax.eval_shape(method.init, run_key(0)).params
    count = {
        player: sum(leaf.size for leaf in jax.tree.leaves(params[player]))
        for player in ("discriminator", "generator")
    }
    theirs = THEIRS["parameters"]
    assert (count["discriminator"] + 2 * 129, count["generator"]) == tuple(theirs)
