"""Views of a generator whose decoder is the identity, so that the picture is the code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.core.errors import BadInput
from latentgen.core.types import Batch, Method
from latentgen.evaluation import views
from latentgen.probability.distributions import Normal
from latentgen.probability.posteriors import of_normal

KEY = jax.random.key(0)
STD = 0.1


def identity(*without: str) -> Method:
    probes = {
        "codes": lambda state, key, n: jax.random.uniform(key, (n, 3), minval=-1.0),
        "decode": lambda state, z: z,
        "encode": lambda state, x, label: x,
        "draw": lambda state, batch, key, k: of_normal(
            Normal(batch.x, jnp.full_like(batch.x, jnp.log(STD)))
        ).draw(key, k),
    }
    kept = {name: probe for name, probe in probes.items() if name not in without}
    return Method(lambda *_: None, lambda *_: None, lambda *_: {}, lambda *_: None, kept)


def labelled(x: jax.Array) -> Batch:
    return Batch(x, jnp.zeros(len(x), jnp.int32))


def test_interpolation_is_a_straight_path_with_its_ends() -> None:
    path = np.asarray(views.paths(identity(), None, KEY, rows=4, columns=5)).reshape(4, 5, 3)
    steps = np.diff(path, axis=1)
    np.testing.assert_allclose(steps, steps[:, :1].repeat(4, axis=1), atol=1e-6)
    ends = identity().probes["codes"](None, KEY, 8)
    np.testing.assert_allclose(path[:, 0], ends[:4], atol=1e-6)
    np.testing.assert_allclose(path[:, -1], ends[4:], atol=1e-6)


def test_traversal_moves_one_coordinate_through_the_prior() -> None:
    z = np.asarray(views.traversals(identity(), None, KEY, rows=9, columns=7))
    z = z.reshape(3, 7, 3)  # three coordinates, hence three rows
    for row in range(3):
        moving = z[row, :, row]
        np.testing.assert_allclose(moving, np.linspace(-0.98, 0.98, 7), atol=0.03)
        still = np.delete(z[row], row, axis=1)
        np.testing.assert_array_equal(still, still[:1].repeat(7, axis=0))


def test_a_method_may_say_which_codes_change() -> None:
    own = {"traverse": lambda state, key, columns: jnp.arange(8.0 * columns).reshape(4, columns, 2)}
    method = identity()._replace(probes=identity().probes | own)
    z = views.traversals(method, None, KEY, rows=3, columns=5)
    np.testing.assert_array_equal(z, np.arange(30.0).reshape(15, 2))


@pytest.mark.parametrize("n", [1, 499, 500, 501, 1_203])
def test_decoding_in_pieces_is_decoding(n: int) -> None:
    z = jax.random.normal(KEY, (n, 3))
    np.testing.assert_array_equal(views.decoded(identity(), None, z), z)


def test_aggregate_is_the_mixture_of_normals_around_the_examples() -> None:
    x = jnp.repeat(jnp.array([[-5.0, 0.0, 5.0]]), 20_000, axis=0)
    z = np.asarray(views.aggregate(identity(), None, KEY, labelled(x)))
    np.testing.assert_allclose(z.mean(axis=0), [-5.0, 0.0, 5.0], atol=5 * STD / np.sqrt(20_000))
    np.testing.assert_allclose(z.std(axis=0), STD, rtol=0.03)


def test_a_missing_probe_is_named_with_those_there_are() -> None:
    with pytest.raises(BadInput, match=r"'encode'.*codes, decode"):
        views.centres(identity("encode"), None, labelled(jnp.zeros((1, 3))))
