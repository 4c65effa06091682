"""MADE: what each output may see, by its Jacobian; a pass by hand; where it starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.core.errors import BadInput
from latentgen.networks.made import made


def grown(net, dim, context, seed=0):
    """Parameters far from the small start, so that every allowed connection shows."""
    inputs = jnp.zeros((1, dim)), jnp.zeros((1, context))
    params, _ = jax.eval_shape(net.init, jax.random.key(seed), *inputs)
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(0, 1, a.shape), a.dtype), params)


def jacobians(net, params, z, context):
    """d outputs / d z and d outputs / d context of one example: (2d, d) and (2d, c)."""

    def outputs(z, context):
        return net.apply(params, {}, z[None], context[None], train=False)[0][0]

    return jax.jit(jax.jacfwd(outputs, argnums=(0, 1)))(z, context)


@pytest.mark.parametrize(
    ("dim", "hidden", "activation"),
    [
        (1, (3,), "elu"),
        (5, (16,), "tanh"),
        (4, (9, 4, 13), "elu"),
        (4, (6, 5), "glu"),
        (4, (6, 5), "maxout"),
        (6, (2,), "elu"),
        (6, (5, 2), "tanh"),
    ],
)
def test_outputs_see_only_the_coordinates_before_theirs(dim, hidden, activation):
    net, rng = made(hidden, activation), np.random.default_rng(1)
    params = grown(net, dim, 2)
    z, context = jnp.array(rng.normal(size=dim)), jnp.array(rng.normal(size=2))
    by_z, by_context = jacobians(net, params, z, context)
    for half in (by_z[:dim], by_z[dim:]):
        assert half.shape == (dim, dim)
        np.testing.assert_array_equal(np.triu(half), np.zeros((dim, dim)))
        if min(hidden) >= dim:  # then nothing that is allowed is missing
            assert np.all(half[np.tril_indices(dim, -1)] != 0)
    assert by_context.shape == (2 * dim, 2)
    assert np.all(by_context != 0)


def test_a_pass_by_hand():
    """d = 3, one hidden layer of 5 units: degrees 0, 0, 1, 1, 2, counted out here."""
    net = made((5,), "tanh")
    params = grown(net, 3, 1)
    hidden, last = params["MaskedDense_0"], params["MaskedDense_1"]
    z, c = np.array([0.3, -1.2, 0.7]), np.array([0.4])
    sees = [[], [], [0], [0], [0, 1]]  # the coordinates that each hidden unit sees
    h = np.array(
        [
            np.tanh(
                sum(z[i] * hidden["kernel"][i, unit] for i in sees[unit])
                + hidden["bias"][unit]
                + c[0] * hidden["context"][0, unit]
            )
            for unit in range(5)
        ]
    )
    feeds = [2, 4, 5]  # coordinate i's outputs see the first so many hidden units
    expected = [
        sum(h[unit] * last["kernel"][unit, o] for unit in range(feeds[o % 3]))
        + last["bias"][o]
        + c[0] * last["context"][0, o]
        for o in range(6)
    ]
    found, _ = net.apply(
        params, {}, jnp.array(z, jnp.float32)[None], jnp.array(c, jnp.float32)[None], train=False
    )
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-6)


def test_it_starts_near_zero_but_not_at_it():
    net, key = made((64, 64)), jax.random.key(0)
    z, context = jax.random.normal(key, (500, 8)), jax.random.normal(key, (500, 4))
    params, stats = jax.jit(net.init)(key, z, context)
    assert stats == {}
    y, _ = net.apply(params, stats, z, context, train=True)
    assert y.shape == (500, 16)
    size = np.sqrt(np.mean(np.square(y)))
    assert 1e-3 < size < 0.05, size


def test_no_context_is_a_context_of_no_numbers():
    net = made((8,))
    params = grown(net, 3, 0)
    assert {name for layer in params.values() for name in layer} == {"kernel", "bias"}
    z = jnp.arange(6.0).reshape(2, 3)
    y, _ = net.apply(params, {}, z, jnp.ones((2, 0)), train=False)
    # Then nothing tells the first coordinate anything, and z alone the others.
    np.testing.assert_array_equal((y[0] == y[1]).reshape(2, 3), [[True, False, False]] * 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hidden": ()}, r"hidden=\(\) must name at least one width"),
        ({"hidden": (4, 0)}, "hidden=0 must be at least 1"),
        ({"activation": "eluu"}, "activation='eluu' is unknown; did you mean 'elu'"),
    ],
)
def test_what_makes_no_network_is_refused(options, said):
    with pytest.raises(BadInput, match=said):
        made(**options)
