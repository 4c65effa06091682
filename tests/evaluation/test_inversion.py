"""Inversion: planted codes and styles are found again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.core.errors import BadInput
from latentgen.core.types import Method
from latentgen.data.preprocess import PREPROCESS
from latentgen.evaluation import inversion
from latentgen.evaluation.inversion import Options, invert
from latentgen.methods import linear_vae
from latentgen.metrics.lpips import lpips
from latentgen.networks import imagenet, mlp, pretrained
from latentgen.networks.imagenet import Stage
from latentgen.probability.linear import posterior, probabilistic_pca
from latentgen.probability.priors import normal

KEY, DIM = jax.random.key(0), 3
NONE = PREPROCESS["none"]


def generating(decode, dim: int = DIM, **probes) -> Method:
    prior = normal(dim)
    common = {
        "codes": lambda state, key, n: prior.sample(key, n),
        "log_prior": lambda state, z: jax.vmap(prior.log_prob)(z),
        "decode": decode,
    }
    return Method(lambda *_: None, lambda *_: None, lambda *_: {}, lambda *_: None, common | probes)


@pytest.fixture(scope="module")
def data() -> jax.Array:
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=(50, DIM)) @ rng.normal(size=(DIM, 8)), jnp.float32)


def test_codes_of_the_linear_model_are_found(data: jax.Array) -> None:
    params = linear_vae.solution(data, DIM)
    net = mlp.decoder((8,), ())
    method = generating(lambda state, z: net.apply(state["decoder"], {}, z, train=False)[0])
    planted = 1.5 * jax.random.normal(KEY, (5, DIM))
    x = method.probes["decode"](params, planted)
    found = invert(method, params, x, None, NONE, KEY, Options(restarts=1))
    np.testing.assert_allclose(found.codes, planted, atol=1e-3)
    np.testing.assert_allclose(found.x, x, atol=1e-3)
    assert found.distances.max() < 1e-6


def test_the_regularizer_gives_the_most_probable_code(data: jax.Array) -> None:
    """Under p(x|z) = N(Wz + mu, std^2) that of |x - Wz - mu|^2 / 2 std^2 - log p(z)."""
    w, mu, _ = probabilistic_pca(data, DIM)
    std, x = 0.5, data[:4]
    method = generating(lambda state, z: z @ w.T + mu[None])
    options = Options(restarts=1, regularizer=2 * std**2)
    found = invert(method, None, x, None, NONE, KEY, options)
    np.testing.assert_allclose(found.codes, posterior(w, mu, jnp.asarray(std), x)[0], atol=1e-3)


@pytest.fixture(scope="module")
def generator() -> tuple[Method, dict]:
    """A random MLP of tanh, from codes and a class to 6 x 6 pixels."""
    keys = jax.random.split(KEY, 3)
    state = {
        "first": jax.random.normal(keys[0], (DIM, 32)) / DIM**0.5,
        "last": jax.random.normal(keys[1], (32, 36)) / 32**0.5,
        "of_class": jax.random.normal(keys[2], (2, 36)),
    }

    def decode(state, z, label):
        x = jnp.tanh(z @ state["first"]) @ state["last"] + state["of_class"][label]
        return jnp.tanh(x / 2).reshape(-1, 6, 6, 1)

    return generating(decode), state


LABEL = jnp.array([0, 1, 1, 0, 1])


def test_codes_of_a_random_mlp_are_found_whatever_the_other_images(
    generator: tuple[Method, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    method, state = generator
    planted = jax.random.normal(jax.random.key(1), (5, DIM))
    x = method.probes["decode"](state, planted, LABEL)
    signed = PREPROCESS["signed"]
    found = invert(method, state, x, LABEL, signed, KEY, Options())
    np.testing.assert_allclose(found.codes, planted, atol=1e-3)
    monkeypatch.setattr(inversion, "VALUES_AT_ONCE", 2 * 4 * 36)  # blocks of 2, 2 and 1
    blocks = invert(method, state, x, LABEL, signed, KEY, Options())
    np.testing.assert_allclose(blocks.codes, found.codes, atol=1e-4)
    again = invert(method, state, x, LABEL, signed, KEY, Options())
    np.testing.assert_array_equal(again.codes, blocks.codes)


def test_the_best_of_several_starts_is_kept() -> None:
    """|z| has two minima of which only one is at the image's sign; bad starts end at the other."""
    valley = lambda state, z: (z**2 - 1) ** 2 + 0.3 * (z - 1) ** 2  # noqa: E731
    method, x = generating(valley, 1), jnp.zeros((6, 1))
    one, many = (invert(method, None, x, None, NONE, KEY, Options(restarts=n)) for n in (1, 16))
    assert (one.codes < 0).any()
    np.testing.assert_allclose(many.codes, 1, atol=0.05)
    assert (many.distances <= one.distances + 1e-6).all()


def test_styles_are_found_from_their_mean(generator: tuple[Method, dict]) -> None:
    plain, state = generator
    mean = jnp.array([0.5, -0.5, 0.0])

    def style(state, z, label=None):
        return mean[None] + z / 2

    def decode_style(state, w):
        return plain.probes["decode"](state, w, jnp.zeros(len(w), jnp.int32))

    probes = {"style": style, "decode_style": decode_style, "mean_style": lambda state: mean}
    method = generating(lambda state, z: decode_style(state, style(state, z)), **probes)
    planted = style(state, jax.random.normal(jax.random.key(2), (3, DIM)))
    x = decode_style(state, planted)
    for restarts in (1, 3):
        options = Options(restarts=restarts)
        found = invert(method, state, x, None, PREPROCESS["signed"], KEY, options)
        np.testing.assert_allclose(found.codes, planted, atol=1e-3)
    strong = Options(restarts=1, regularizer=1e6)
    pulled = invert(method, state, x, None, PREPROCESS["signed"], KEY, strong)
    np.testing.assert_allclose(pulled.codes, jnp.broadcast_to(mean, (3, DIM)), atol=1e-2)
    codes = invert(method, state, x, None, PREPROCESS["signed"], KEY, Options(space="z"))
    np.testing.assert_allclose(style(state, codes.codes), planted, atol=1e-3)


TINY = imagenet.Network("alexnet", (Stage(4, stride=2), Stage(3, pool=2)), least=12)


def test_lpips_is_what_is_minimized(
    generator: tuple[Method, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, params = np.random.default_rng(0), {}
    for name, shape in imagenet.shapes(TINY).items():
        layer, _, kind = name.partition("/")
        params.setdefault(layer, {})[kind] = rng.normal(size=shape).astype(np.float32)
    linear = [np.ones(stage.features, np.float32) for stage in TINY.stages]
    monkeypatch.setitem(imagenet.NETWORKS, "alexnet", TINY)
    monkeypatch.setattr(
        pretrained, "load", lambda name: pretrained.Pretrained(params, linear, name)
    )
    method, state = generator
    x = method.probes["decode"](state, jax.random.normal(KEY, (2, DIM)), LABEL[:2])
    signed = PREPROCESS["signed"]
    short, long = (
        invert(method, state, x, LABEL[:2], signed, KEY, Options("lpips", steps=n))
        for n in (1, 300)
    )
    pixels = (x, jnp.asarray(long.x))
    of_x, of_found = (imagenet.activations(TINY, params, (each + 1) / 2) for each in pixels)
    np.testing.assert_allclose(long.distances, lpips(of_x, of_found, linear), atol=1e-5)
    assert (long.distances < 0.05 * short.distances).all()


def test_a_generator_that_has_diverged_is_told_in_a_line() -> None:
    method = generating(lambda state, z: z * jnp.nan)
    with pytest.raises(BadInput, match="no code gives a finite image"):
        invert(method, None, jnp.zeros((1, DIM)), None, NONE, KEY, Options(steps=1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"distance": "l1"}, "distance='l1' is unknown"),
        ({"space": "v"}, "space='v' is unknown"),
        ({"space": "w"}, "space='w' needs styles"),
        ({"steps": 0}, "steps=0 must be at least 1"),
        ({"restarts": 0}, "restarts=0 must be at least 1"),
        ({"lr": 0.0}, "lr=0.0 must be above 0"),
        ({"noise": -1.0}, "noise=-1.0 must be at least 0"),
        ({"regularizer": float("nan")}, "regularizer=nan must be at least 0"),
        ({"distance": "lpips"}, "these are points"),
    ],
)
def test_options_that_are_not_valid_are_refused(change: dict, said: str) -> None:
    method = generating(lambda state, z: z)
    with pytest.raises(BadInput, match=said):
        invert(method, None, jnp.zeros((1, DIM)), None, NONE, KEY, Options(**change))
