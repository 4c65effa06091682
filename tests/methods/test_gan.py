"""Packs, classes and learned priors of a GAN, with players simple enough to compute by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from latentgen.core.errors import BadInput
from latentgen.core.keys import run_key
from latentgen.core.types import Batch, Net
from latentgen.methods.adversaries import logits_of, pack
from latentgen.methods.gan import Model, Objective, gan, outputs
from latentgen.networks import mlp
from latentgen.objectives.adversarial import LOSSES
from latentgen.objectives.penalties import PENALTIES, clip_weights
from latentgen.probability import priors
from latentgen.probability.codes import Codes

NORMAL = priors.fixed(priors.normal(2))


def net(apply: Any, start: Any = None) -> Net:
    """params, x -> output, without stats."""
    return Net(
        lambda key, x: (jnp.zeros(()) if start is None else start, {}),
        lambda params, stats, x, train, key=None: (apply(params, x), stats),
    )


def linear(key: int, inputs: int, columns: int) -> tuple[Net, jax.Array]:
    w = jax.random.normal(jax.random.key(key), (inputs, columns))
    return net(lambda w, x: x.reshape(len(x), -1) @ w, w), w


def model(discriminator: Net, **changes: Any) -> Model:
    generator = net(lambda _, z: z[:, :2].reshape(-1, 2, 1, 1))
    return Model(generator, discriminator, NORMAL, 2)._replace(**changes)


def batch(n: int = 6) -> Batch:
    x = jax.random.normal(jax.random.key(1), (n, 2, 1, 1))
    return Batch(x, jnp.arange(n) % 3)


def test_neighbours_are_grouped_and_the_last_group_is_filled_from_the_first() -> None:
    x = jnp.arange(10).reshape(5, 2)
    np.testing.assert_array_equal(pack(x, 2)[:, :, 0], [[0, 2], [4, 6], [8, 0]])
    np.testing.assert_array_equal(pack(x, 1)[:, 0], x)


def test_a_pack_is_stacked_in_channels_and_judged_as_one() -> None:
    seen = []
    watching = net(lambda _, x: (seen.append(x), x.sum(axis=(1, 2, 3))[:, None])[1])
    packed = model(watching, packing=3)
    x = batch().x
    logits, _ = logits_of(packed, jnp.zeros(()), {}, pack(x, 3), pack(batch().label, 3), False)
    assert seen[0].shape == (2, 2, 1, 3)
    np.testing.assert_array_equal(seen[0][1, :, :, 2], x[5, :, :, 0])
    np.testing.assert_allclose(logits, x.reshape(2, -1).sum(axis=1), rtol=1e-6)


def test_members_of_a_pack_share_its_terms_and_its_penalty() -> None:
    """R1 of l = a |pack|^2 / 2 is a^2 |pack|^2 / 2: the gradient is over all members at once."""
    a = 0.7
    square = net(lambda _, x: a * (x**2).sum(axis=(1, 2, 3))[:, None] / 2)
    objective = Objective(LOSSES["nonsaturating"], PENALTIES["r1"], 2.0)
    method = gan(model(square, packing=2), objective, optax.sgd(0.0), optax.sgd(0.0), (2, 1, 1))
    state = method.init(run_key(0))
    terms = jax.jit(method.terms)(state, jnp.int32(0), batch(), run_key(0))
    lengths = np.repeat((np.asarray(batch().x).reshape(3, -1) ** 2).sum(axis=1), 2)
    np.testing.assert_allclose(terms["penalty"], a**2 * lengths / 2, rtol=1e-5)
    np.testing.assert_allclose(terms["d_real"], 1 / (1 + np.exp(-a * lengths / 2)), rtol=1e-5)
    assert all(value.shape == (6,) for value in terms.values())
    # The gradient of the mean over examples is that of the mean over packs.
    found = method.probes["discriminate"](state, batch().x)
    np.testing.assert_allclose(found, a * lengths / 2, rtol=1e-5)


def test_a_projection_adds_the_classs_linear_function_of_the_features() -> None:
    net_, w = linear(3, 2, 1 + 3)
    told = model(net_, classes=3, condition="projection")
    x, label = batch().x, batch().label
    logits, _ = logits_of(told, w, {}, pack(x, 1), pack(label, 1), False)
    flat = np.asarray(x).reshape(6, 2)
    expected = flat @ np.asarray(w[:, 0]) + (flat * np.asarray(w[:, 1:]).T[label]).sum(axis=1)
    np.testing.assert_allclose(logits, expected, rtol=1e-5)
    assert outputs(3, "projection") == 4
    assert outputs(3, "concat") == 1


def test_an_auxiliary_classifier_is_trained_by_both_players_on_both_kinds_of_examples() -> None:
    """D ascends, and G by its samples, log p(class | x): both by hand, from linear players."""
    net_, w = linear(3, 2, 1 + 3)
    told = model(net_, classes=3, condition="auxiliary")
    objective = Objective(LOSSES["wasserstein"], auxiliary_weight=0.7)
    method = gan(told, objective, optax.sgd(0.0), optax.sgd(0.0), (2, 1, 1))
    state = jax.jit(method.init)(run_key(0))
    state = state._replace(params=state.params | {"discriminator": w})
    terms = jax.jit(method.terms)(state, jnp.int32(0), batch(), run_key(0))
    flat, label = np.asarray(batch().x).reshape(6, 2), np.asarray(batch().label)
    logits = flat @ np.asarray(w[:, 1:])
    expected = logits[np.arange(6), label] - np.log(np.exp(logits).sum(axis=1))
    np.testing.assert_allclose(terms["class_log_prob_real"], expected, rtol=1e-5)
    # The generator sees -s - 0.7 (log p(c | x) + log p(c | G(z))), on codes of its own turn.
    assert terms["class_log_prob_synthetic"].max() < 0
    assert not np.allclose(terms["class_log_prob_synthetic"], expected)
    np.testing.assert_allclose(
        method.probes["discriminate"](state, batch().x, batch().label),
        flat @ np.asarray(w[:, 0]),
        rtol=1e-5,
    )
    np.testing.assert_allclose(method.probes["classify"](state, batch().x), logits, rtol=1e-5)
    assert outputs(3, "auxiliary", Codes((4, 2), 5)) == 1 + 3 + 11


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_both_players_ascend_the_weighted_information(weight: float) -> None:
    """Gradients at the same codes, with the critic r - s, of both players."""
    codes = Codes((3,), 1)
    z = jnp.concatenate([jnp.eye(3)[jnp.arange(6) % 3], jnp.linspace(-1, 1, 6)[:, None]], axis=1)
    z = jnp.concatenate([jnp.ones((6, 1)), z], axis=1)
    fixed = priors.Prior(5, lambda key, n: z, lambda z: jnp.zeros(len(z)))
    g, d = (jax.random.normal(jax.random.key(i), (5, 2 + 3 * i)) for i in (0, 1))
    d = d[:2]
    generator = net(lambda g, z: (z @ g).reshape(-1, 2, 1, 1), g)
    discriminator = net(lambda d, x: x.reshape(len(x), -1) @ d, d)
    told = Model(generator, discriminator, priors.fixed(fixed), 5, codes=codes)
    keep = optax.chain(optax.trace(0.0), optax.scale(0.0))  # its state is the gradient
    objective = Objective(LOSSES["wasserstein"], auxiliary_weight=weight)
    method = gan(told, objective, keep, keep, (2, 1, 1))
    data = jax.tree.map(lambda a: a[None], batch())
    state, _ = jax.jit(method.step)(jax.jit(method.init)(run_key(0)), 0, data, run_key(0))

    def total(g: jax.Array, d: jax.Array) -> jax.Array:
        real, out = batch().x.reshape(6, 2) @ d, z @ g @ d
        log_q = (out[:, 1:4] * z[:, 1:4]).sum(1) - jnp.log(jnp.exp(out[:, 1:4]).sum(1))
        log_q = log_q - (z[:, 4] - out[:, 4]) ** 2 / 2
        return real[:, 0].mean() - out[:, 0].mean() + weight * log_q.mean()

    by_d, by_g = jax.grad(total, 1)(g, d), jax.grad(lambda g: -total(g, d), 0)(g)
    np.testing.assert_allclose(
        -state.opt[0][1][0].trace["discriminator"], by_d, rtol=1e-4, atol=1e-5
    )
    # In G's turn the critic's sign is the other: it descends r - s, but ascends Q.
    other = jax.grad(lambda g: (-(z @ g @ d)[:, 0]).mean())(g)
    np.testing.assert_allclose(
        state.opt[1][0].trace["generator"], by_g + 2 * other, rtol=1e-4, atol=1e-5
    )


def test_classes_stand_beside_every_pixel_and_beside_the_code() -> None:
    shapes = []

    def watched(params: jax.Array, x: jax.Array) -> jax.Array:
        shapes.append(x.shape)
        return x.reshape(len(x), -1).sum(axis=1, keepdims=True)

    generator = net(lambda _, z: (shapes.append(z.shape), z[:, 2:4].reshape(-1, 2, 1, 1))[1])
    told = model(net(watched), generator=generator, classes=3)
    method = gan(told, Objective(LOSSES["minimax"]), optax.sgd(0.1), optax.sgd(0.1), (2, 1, 1))
    state = method.init(run_key(0))
    method.terms(state, jnp.int32(0), batch(), run_key(0))
    assert set(shapes) == {(6, 5), (6, 2, 1, 4)}
    # The generator that draws its class's first two numbers: of class 0, 1, 2 in turn.
    x = method.probes["decode"](state, jnp.zeros((3, 2)))
    np.testing.assert_array_equal(x[:, :, 0, 0], [[1, 0], [0, 1], [0, 0]])
    with pytest.raises(BadInput, match="label is missing"):
        method.probes["discriminate"](state, batch().x)


def test_the_generators_turn_moves_the_means_of_a_mixture() -> None:
    discriminator, _ = linear(4, 2, 1)
    mixed = model(discriminator, prior=priors.mixture(2, 4))
    method = gan(mixed, Objective(LOSSES["minimax"]), optax.sgd(0.1), optax.sgd(0.0), (2, 1, 1))
    start = jax.jit(method.init)(run_key(0))
    data = jax.tree.map(lambda a: a[None], batch())
    end, _ = jax.jit(method.step)(start, jnp.int32(0), data, run_key(0))
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), start.params, end.params)
    assert moved["prior"] == {"mean": True, "log_std": True, "logits": False}
    assert not moved["discriminator"]


def test_weights_in_a_box_stay_there() -> None:
    discriminator = mlp.encoder((8,), outputs=1)
    tx = optax.chain(optax.adam(0.1), clip_weights(0.02))
    method = gan(
        model(discriminator), Objective(LOSSES["wasserstein"]), optax.sgd(0.0), tx, (2, 1, 1)
    )
    state, one_step = jax.jit(method.init)(run_key(0)), jax.jit(method.step)
    data = jax.tree.map(lambda a: a[None], batch())
    for step in range(3):
        state, _ = one_step(state, jnp.int32(step), data, run_key(0))
    leaves = [np.abs(leaf) for leaf in jax.tree.leaves(state.params["discriminator"])]
    assert max(leaf.max() for leaf in leaves) <= 0.02 * (1 + 1e-6)
    assert max(leaf.max() for leaf in leaves) > 0.0199


@pytest.mark.parametrize("changes", [{"packing": 2, "classes": 3}, {"classes": 0}])
@pytest.mark.parametrize("condition", ["projection", "auxiliary"])
def test_a_projection_without_classes_or_of_packs_is_refused(
    changes: dict[str, int], condition: str
) -> None:
    told = model(linear(3, 2, 4)[0], condition=condition, **changes)
    with pytest.raises(BadInput, match=condition):
        gan(told, Objective(LOSSES["minimax"]), optax.sgd(0.1), optax.sgd(0.1), (2, 1, 1))


def test_the_generators_turn_may_have_more_codes_than_a_minibatch() -> None:
    seen = []
    watching = net(lambda _, x: (seen.append(x.shape[0]), x.sum(axis=(1, 2, 3))[:, None])[1])
    objective = Objective(LOSSES["hinge"])
    tx = (optax.sgd(0.0), optax.sgd(0.0))
    method = gan(model(watching), objective, *tx, (2, 1, 1), generator_batches=3)
    state = method.init(run_key(0))
    draws = jax.tree.map(lambda a: a[None], batch())
    _, metrics = method.step(state, jnp.int32(0), draws, run_key(0))
    assert seen == [6, 6, 18, 18]
    assert metrics["generator_loss"].shape == ()
    terms = method.terms(state, jnp.int32(0), batch(), run_key(0))
    assert terms["generator_loss"].shape == (6,)
