"""Features of a discriminator: its outputs are an affine function of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.core.errors import BadInput
from latentgen.core.types import Net
from latentgen.networks import ENCODERS, made

KEY = jax.random.key(0)
ROWS: dict[str, dict] = {
    "mlp": {"hidden": (6,)},
    "twin": {"hidden": (3,)},
    "conv": {"channels": (2, 4), "dense": (6,)},
    "infogan": {"channels": (2, 4), "hidden": (6,), "head": (3,)},
    "resnet": {"channels": (2, 4), "dense": (6,)},
    "sngan": {"width": 4},
    "biggan": {"width": 2},
    "r3gan": {"channels": (4, 4, 4, 4), "groups": (1,)},
    "stylegan2": {"channel_base": 64, "channel_max": 4, "group": 2},
}
"""One discriminator of each network, and its options."""


def start(net: Net, x: jax.Array):
    """Parameters drawn here, as some networks begin with zeros; stats are positive."""
    random = np.random.default_rng(0)
    params, stats = jax.eval_shape(net.init, KEY, x)
    params = jax.tree.map(lambda a: jnp.asarray(random.normal(0, 0.3, a.shape), a.dtype), params)
    return params, jax.tree.map(
        lambda a: jnp.asarray(random.uniform(0.5, 1.5, a.shape), a.dtype), stats
    )


def test_each_network_has_a_row() -> None:
    assert sorted(ROWS) == sorted(ENCODERS)


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", list(ROWS))
def test_outputs_are_affine_in_the_features(name: str) -> None:
    net = ENCODERS[name](outputs=2 if name == "twin" else 1, **ROWS[name])
    x = jax.random.normal(KEY, (24, 32, 32, 1))
    params, stats = start(net, x)
    out, _ = net.apply(params, stats, x, train=False)
    features = net.features(params, stats, x, train=False)
    affine = np.column_stack([features, np.ones(len(x))])
    fit, _, rank, _ = np.linalg.lstsq(affine, np.asarray(out), rcond=None)
    assert 2 <= rank < len(x) / 2
    np.testing.assert_allclose(affine @ fit, out, atol=1e-4 * float(jnp.abs(out).max()))
    assert float(jnp.std(out)) > 0


def test_those_of_training_are_those_that_the_logits_were_made_of() -> None:
    net = ENCODERS["mlp"](outputs=1, hidden=(6,), dropout=0.5, norm="batch")
    x = jax.random.normal(KEY, (12, 4))
    params, stats = start(net, x)
    out, _ = net.apply(params, stats, x, train=True, key=KEY)
    features = net.features(params, stats, x, train=True, key=KEY)
    last = params["Linear_0"]["Dense_0"]
    expected = features @ last["kernel"] + last["bias"][None]
    np.testing.assert_allclose(expected, out, rtol=1e-4, atol=1e-5)
    assert (features == 0).any()


def test_a_network_without_features_is_refused() -> None:
    net = made.made((4,))
    z, context = jnp.ones((2, 3)), jnp.ones((2, 1))
    with pytest.raises(BadInput, match="keeps no features"):
        net.features(*net.init(KEY, z, context), z, context, train=False)
