"""A GAN with a mapping network: styles, their mixing, lazy turns."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from latentgen import configs
from latentgen.core.errors import BadInput
from latentgen.core.keys import run_key
from latentgen.core.types import Batch, Net
from latentgen.core.wrappers import with_raw_params
from latentgen.methods.styles import Mapping, styles
from tests.methods.test_methods import Row, config_of

KEY = run_key(0)
SHAPE = (8, 8, 1)
SMALL = {
    "method.code_dim": 4,
    "mapping.width": 4,
    "generator.channel_max": 4,
    "discriminator.channel_max": 4,
}


def doubled(mixing: Any) -> Mapping:
    """w = 2 z, and how often it was asked."""

    def apply(params, stats, z, *, train, key=None):
        return 2 * z, stats + 1

    return Mapping(Net(lambda key, z: ({}, 0), apply), 3, 5, mixing, lambda stats: stats)


def mixed(mixing: Any, key: jax.Array, train: bool = True) -> tuple[jax.Array, Any]:
    z = jnp.ones((4, 3))
    stats = {"mapping": jnp.int32(0)}
    return styles(
        doubled(mixing), {"mapping": {}}, stats, z, train, lambda key: -jnp.ones((4, 3)), key
    )


def test_mixed_styles_change_at_one_layer_of_the_whole_batch() -> None:
    """The layer is uniform over all but the first, with the probability given."""
    keys = jax.random.split(jax.random.key(1), 4_000)
    w, after = jax.jit(jax.vmap(functools.partial(mixed, 0.75)))(keys)
    assert w.shape == (4_000, 4, 5, 3)
    assert (w == w[:, :1, :, :1]).all()
    signs = np.sign(w[:, 0, :, 0])
    assert (signs[:, 0] == 1).all()
    assert (np.diff(signs, axis=1) <= 0).all()
    first_mixed = (signs > 0).sum(axis=1)
    shares = np.bincount(first_mixed, minlength=6)[1:] / 4_000
    np.testing.assert_allclose(shares, [*[0.75 / 4] * 4, 0.25], atol=0.035)  # 5 sigma
    assert (after == 1).all()  # the second style does not enter the average


def test_without_mixing_all_layers_have_one_style() -> None:
    for w, _ in (mixed(0.0, KEY), mixed(1.0, KEY, train=False)):
        np.testing.assert_array_equal(w, np.full((4, 5, 3), 2.0))


@functools.cache
def made(ema_decay: float = 0.0) -> tuple[Any, Any]:
    config = config_of(Row("gan", SMALL | {"method.classes": 3}, "", "stylegan2"))
    config["method"]["condition"] = "network"
    config["method"] |= {"ema_images": 0.0, "ema_decay": ema_decay}
    method = configs.experiment(config).plan.wire(SHAPE)
    return method, jax.jit(method.init)(KEY)


def test_decoding_is_drawing_the_style_of_a_code() -> None:
    method, state = made()
    probes = {name: jax.jit(probe) for name, probe in method.probes.items() if name != "codes"}
    z, label = jax.random.normal(KEY, (3, 4)), jnp.array([0, 1, 1])
    w = probes["style"](state, z, label)
    x = probes["decode_style"](state, w)
    assert w.shape == (3, 4)
    assert x.shape == (3, *SHAPE)
    np.testing.assert_allclose(x, probes["decode"](state, z, label), rtol=1e-5, atol=1e-6)
    assert not np.allclose(w, probes["style"](state, z, 2 - label), atol=1e-3)
    each = jnp.tile(w[:, None], (1, 4, 1)).at[:, 2:].set(w[::-1, None])  # styles of two codes
    assert not np.allclose(x, probes["decode_style"](state, each), atol=1e-4)
    np.testing.assert_array_equal(probes["mean_style"](state), np.zeros(4))
    assert method.probes["style_levels"](state) == 4


@pytest.mark.long
def test_turns_in_the_authors_order_with_lazy_ones_and_two_optimizers() -> None:
    """Gmain, Greg, Dmain, Dreg: the second of each uses the optimizer of the first."""
    method, state = made(ema_decay=0.5)
    assert [opt == () for opt in state.state.opt] == [False, True, False, True]
    batch = Batch(jnp.zeros((1, 4, *SHAPE)), jnp.zeros((1, 4), jnp.int32))
    run = jax.jit(method.step)
    counts = []
    for step in range(2):
        state, metrics = run(state, jnp.int32(step), batch, KEY)
        counts.append([int(_count(state.state.opt[i])) for i in (0, 2)])
        assert (float(metrics["path_length"]) > 0) == (step == 0)
        assert (float(metrics["penalty"]) > 0) == (step == 0)
    assert counts == [[2, 2], [3, 3]]  # both lazy turns in step 0, none in step 1
    assert float(state.state.stats["path_length"]) > 0
    # Averages of the weights have the generator's last average of w, not an average of it.
    np.testing.assert_array_equal(
        method.probes["mean_style"](state), method.probes["mean_style"](with_raw_params(state))
    )
    assert np.abs(method.probes["mean_style"](state)).min() > 0


def _count(opt: Any) -> jax.Array:
    (found,) = (
        s.count
        for s in jax.tree.leaves(opt, is_leaf=lambda s: isinstance(s, optax.ScaleByAdamState))
        if isinstance(s, optax.ScaleByAdamState)
    )
    return found


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"generator": {"network": "mlp"}}, "config.generator.network='mlp' must be 'stylegan2'"),
        ({"mapping": None}, "config.method.style_mixing=0.9 needs config.mapping"),
        ({"method": {"first": "both"}}, "config.method.first='both'"),
        ({"method": {"path_every": 0}}, "config.method.path_every=0 must be at least 1"),
        ({"mapping": {"rate": 0.0}}, "rate=0.0 must be above 0"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict, words: str) -> None:
    config = config_of(Row("gan", SMALL, "", "stylegan2"))
    plain = config_of(Row("gan", {}, ""))
    for section, values in changes.items():
        if values is None:
            del config[section]
        elif "network" in values:
            config[section] = plain[section] | values
        else:
            config[section] |= values
    with pytest.raises(BadInput) as error:
        configs.experiment(config).plan.wire(SHAPE)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
