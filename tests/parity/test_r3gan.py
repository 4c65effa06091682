"""R3GAN's networks and both turns of its game against the authors' code, at the same weights."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import gan
from latentgen import configs
from latentgen.networks import r3gan
from latentgen.objectives.adversarial import LOSSES
from latentgen.objectives.penalties import r1_and_r2
from tests.parity.make_r3gan import (
    BLOCKS,
    CLASSES,
    EMBEDDING,
    GAMMA,
    GROUPS,
    IMAGES,
    PRESETS,
    SCORED,
    SIDE,
    WIDTHS,
    inputs,
)
from tests.parity.weights import close, fill, summary

THEIRS = np.load(Path(__file__).with_name("r3gan.npz"))
SIZES = {"channels": WIDTHS[::-1], "groups": GROUPS[::-1], "blocks": BLOCKS[::-1]}
SHAPE = (SIDE, SIDE, 3)
KEY = jax.random.key(0)
OF_BLOCK = {
    "LinearLayer1.Layer.weight": ("Conv_0", "kernel"),
    "LinearLayer2.Layer.weight": ("Conv_1", "kernel"),
    "LinearLayer3.Layer.weight": ("Conv_2", "kernel"),
    "NonLinearity1.Bias": ("Conv_0", "bias"),
    "NonLinearity2.Bias": ("Conv_1", "bias"),
}


def nets(classes):
    g = r3gan.generator(SHAPE, **SIZES, embedding=EMBEDDING, classes=classes)
    return g, r3gan.discriminator(**SIZES, outputs=1, embedding=SCORED, classes=classes)


def blocks(player, stages, first):
    """Path in our parameters of each weight of a block, by their name."""
    found, counted = {}, 0
    for stage, number in enumerate(stages):
        for i in range(number):
            prefix = f"{player}.MainLayers.{stage}.Layers.{first + i}"
            block = f"Block_{counted}"
            found |= {f"{prefix}.{theirs}": (block, *ours) for theirs, ours in OF_BLOCK.items()}
            counted += 1
    return found


def paths(player, classes):
    """Path in our parameters of each of their weights."""
    if player == "g":
        found = blocks("g", BLOCKS, 1) | {
            "g.MainLayers.0.Layers.0.Basis": ("basis",),
            "g.MainLayers.0.Layers.0.LinearLayer.weight": ("Dense_0", "kernel"),
            "g.MainLayers.2.Layers.0.LinearLayer.Layer.weight": ("Conv_0", "kernel"),
            "g.AggregationLayer.Layer.weight": ("Conv_1", "kernel"),
        }
    else:
        found = blocks("d", BLOCKS[::-1], 0) | {
            "d.ExtractionLayer.Layer.weight": ("Conv_0", "kernel"),
            "d.MainLayers.0.Layers.2.LinearLayer.Layer.weight": ("Conv_1", "kernel"),
            "d.MainLayers.2.Layers.2.Basis.weight": ("basis",),
            "d.MainLayers.2.Layers.2.LinearLayer.weight": ("Dense_0", "kernel"),
        }
    embedding = {f"{player}.EmbeddingLayer.weight": ("embedding", "kernel")}
    return found | (embedding if classes else {})


def to_theirs(name, ours):
    """Convert our layout of a weight to theirs."""
    if name == "d.MainLayers.2.Layers.2.Basis.weight":
        return ours.transpose(2, 0, 1)[:, None]
    if ours.ndim == 3:
        return ours.transpose(2, 0, 1)
    return ours.transpose(3, 2, 0, 1) if ours.ndim == 4 else ours.T


def to_ours(name, theirs):
    """Convert their layout of a weight to ours."""
    if name == "d.MainLayers.2.Layers.2.Basis.weight":
        return theirs[:, 0].transpose(1, 2, 0)
    if theirs.ndim == 3:
        return theirs.transpose(1, 2, 0)
    return theirs.transpose(2, 3, 1, 0) if theirs.ndim == 4 else theirs.T


def at(tree, path):
    return functools.reduce(lambda node, name: node[name], path, tree)


def weights(player, like, classes):
    """Our parameters, filled with the numbers that their names give; all of them."""
    found = jax.tree.map(lambda leaf: None, like)
    for name, path in paths(player, classes).items():
        leaf = at(like, path)
        theirs = fill(name, to_theirs(name, np.zeros(leaf.shape)).shape)
        at(found, path[:-1])[path[-1]] = jnp.asarray(to_ours(name, theirs))
    assert jax.tree.structure(found) == jax.tree.structure(like)
    return found


@functools.cache
def game(classes):
    """Images, logits and gradients of both turns, by our networks, loss and penalty."""
    g, d = nets(classes)
    z, x, one_hot = inputs()
    x, extra = jnp.asarray(x.transpose(0, 2, 3, 1)), (jnp.asarray(one_hot),) * bool(classes)
    z = jnp.concatenate([jnp.asarray(z), *extra], 1)
    like = jax.eval_shape(g.init, KEY, z)[0], jax.eval_shape(d.init, KEY, x, *extra)[0]
    params = tuple(weights(p, tree, classes) for p, tree in zip("gd", like, strict=True))
    loss = LOSSES["relativistic"]

    def score(params, x):
        return d.apply(params, {}, x, *extra, train=True)[0][:, 0]

    def g_loss(g_params, d_params):
        synthetic = g.apply(g_params, {}, z, train=True)[0]
        return loss.generator_loss(score(d_params, x), score(d_params, synthetic)).mean(), synthetic

    def d_loss(d_params, synthetic):
        real, fake = score(d_params, x), score(d_params, synthetic)
        penalty = r1_and_r2(lambda x: score(d_params, x), x, synthetic, KEY)
        return (GAMMA * penalty - loss.discriminator_value(real, fake)).mean(), real

    @jax.jit
    def both(g_params, d_params):
        g_grad, synthetic = jax.grad(g_loss, has_aux=True)(g_params, d_params)
        d_grad, logits = jax.grad(d_loss, has_aux=True)(d_params, synthetic)
        return synthetic, logits, {"g": g_grad, "d": d_grad}

    return both(*params)


@pytest.mark.parametrize("classes", [pytest.param(0, marks=pytest.mark.long), CLASSES])
def test_images_and_logits(classes):
    images, logits, _ = game(classes)
    assert images.shape == (IMAGES, *SHAPE)
    assert close(images.transpose(0, 3, 1, 2), THEIRS[f"{classes}.images"])
    assert close(logits, THEIRS[f"{classes}.logits"])


@pytest.mark.parametrize("classes", [pytest.param(0, marks=pytest.mark.long), CLASSES])
@pytest.mark.parametrize("player", ["g", "d"])
def test_gradients_of_both_turns(player, classes):
    """The discriminator's has R1 and R2: the second derivative of each layer."""
    gradients = game(classes)[2][player]
    for name, path in paths(player, classes).items():
        ours = summary(name, to_theirs(name, np.asarray(at(gradients, path))))
        assert close(ours, THEIRS[f"{classes}.{name}"]), name


@pytest.mark.parametrize(
    "preset",
    [pytest.param(name, marks=[] if name == "cifar10" else pytest.mark.long) for name in PRESETS],
)
def test_the_recipes_have_as_many_parameters(preset):
    config = gan.get_config(f"r3gan_{preset}").to_dict()
    side = 4 * 2 ** (len(PRESETS[preset][0]) - 1)
    method = configs.experiment(config).plan.wire((side, side, 3))
    state = jax.eval_shape(method.init, KEY).state
    ours = [
        sum(leaf.size for leaf in jax.tree.leaves(state.params[player]))
        for player in ("generator", "discriminator")
    ]
    assert ours == THEIRS[f"count.{preset}"].tolist()
