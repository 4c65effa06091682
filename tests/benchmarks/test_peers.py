"""PyTorch peers of R3GAN and StyleGAN2 give latentgen's numbers at the same weights."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.networks import r3gan, stylegan2

torch = pytest.importorskip("torch")
peers_r3gan = pytest.importorskip("experiments.benchmarks.accelerator.peers_r3gan")
peers_stylegan2 = pytest.importorskip("experiments.benchmarks.accelerator.peers_stylegan2")

pytestmark = pytest.mark.long
CHANNELS, GROUPS, CODE, SIDE, N = (8, 16), (1, 2), 6, 8, 4
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(N, SIDE, SIDE, 3)).astype(np.float32)
Z = RANDOM.normal(size=(N, CODE)).astype(np.float32)
STYLED = {"channel_base": 32, "channel_max": 4, "clamp": 256.0}


def moved(params: Any) -> Any:
    """Move every parameter a little: none is 0, and no gradient with it."""
    move = lambda a: a + jnp.asarray(0.1 * RANDOM.normal(size=a.shape), a.dtype)  # noqa: E731
    return jax.tree.map(move, params)


def named(params: Any) -> dict[str, np.ndarray]:
    paths = jax.tree_util.tree_flatten_with_path(params)[0]
    return {jax.tree_util.keystr(k, simple=True, separator="."): np.asarray(v) for k, v in paths}


def fill(module: Any, paths: Iterator[str] | list[str], values: dict[str, np.ndarray]) -> None:
    """Copy each value to the PyTorch parameter whose place in `paths` it has; all are used."""
    paths = list(paths)
    assert sorted(paths) == sorted(values)
    for parameter, path in zip(module.parameters(), paths, strict=True):
        value = values[path]
        kinds = {4: (3, 2, 0, 1), 3: (2, 0, 1), 2: (1, 0), 1: (0,), 0: ()}
        put(parameter, value.transpose(kinds[value.ndim]))


def put(parameter: Any, value: np.ndarray) -> None:
    assert tuple(parameter.shape) == value.shape
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(value.copy()))


def image_first(x: np.ndarray) -> Any:
    return torch.from_numpy(x.transpose(0, 3, 1, 2).copy())


def image_last(x: Any) -> Any:
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def close(theirs: Any, ours: Any) -> None:
    theirs, ours = theirs.detach().numpy(), np.asarray(ours)
    assert theirs.shape == ours.shape
    assert np.abs(theirs - ours).max() < 1e-5 * np.abs(ours).max()


def block(number: int) -> list[str]:
    parts = ("0.kernel", "0.bias", "1.kernel", "1.bias", "2.kernel")
    return [f"Block_{number}.Conv_{part}" for part in parts]


def test_r3gan() -> None:
    blocks = [block(i) for i in range(4)]
    first, second = blocks[0] + blocks[1], blocks[2] + blocks[3]
    ends = {
        "D": ["Conv_0.kernel", *first, "Conv_1.kernel", *second, "basis", "Dense_0.kernel"],
        "G": ["Dense_0.kernel", "basis", *first, "Conv_0.kernel", *second, "Conv_1.kernel"],
    }
    d = r3gan.discriminator(outputs=1, channels=CHANNELS, groups=GROUPS)
    g = r3gan.generator((SIDE, SIDE, 3), channels=CHANNELS, groups=GROUPS)
    their_d = peers_r3gan.discriminator(CHANNELS, GROUPS)
    their_g = peers_r3gan.generator(CHANNELS, GROUPS, CODE)
    for name, net, theirs, x, y in (
        ("D", d, their_d, X, image_first(X)),
        ("G", g, their_g, Z, torch.from_numpy(Z)),
    ):
        params, stats = jax.jit(net.init)(jax.random.key(0), x)
        params = moved(params)
        fill(theirs, ends[name], named(params))
        apply = jax.jit(
            lambda params, x, net=net, stats=stats: net.apply(params, stats, x, train=False)[0]
        )
        close(image_last(theirs(y)), apply(params, x))


def styled(module: Any, part: dict[str, Any], up: bool = False) -> None:
    put(module.kernel, kernel(part["conv"], up))
    dense(module.style, part["conv"]["style"])
    put(module.bias, np.asarray(part["bias"]))
    if "strength" in part:
        put(module.strength, np.asarray(part["strength"]))


def kernel(part: dict[str, Any], up: bool = False) -> np.ndarray:
    return np.asarray(part["kernel"]).transpose((2, 3, 0, 1) if up else (3, 2, 0, 1))


def dense(module: Any, part: dict[str, Any]) -> None:
    put(module.kernel, np.asarray(part["kernel"]).T)
    put(module.bias, np.asarray(part["bias"]))


def conv(module: Any, part: dict[str, Any]) -> None:
    put(module.kernel, kernel(part))
    put(module.bias, np.asarray(part["bias"]))


@pytest.fixture(scope="module")
def played() -> tuple[Any, Callable[..., Any], Callable[..., Any], Any]:
    """Their game with our parameters; our image of codes, our logits of images, D's parameters."""
    g = stylegan2.generator((SIDE, SIDE, 3), architecture="skip", noise=True, **STYLED)
    mapping = stylegan2.mapping(width=CODE, layers=2)
    d = stylegan2.discriminator(outputs=1, architecture="orig", group=2, **STYLED)
    (w_params, w_stats), (g_params, g_stats), (d_params, d_stats) = (
        jax.jit(net.init)(jax.random.key(i), x)
        for i, (net, x) in enumerate(((mapping, Z), (g, Z), (d, X)))
    )
    w_params, d_params = moved(w_params), moved(d_params)
    game = peers_stylegan2.game(SIDE, CODE, 32, 4, 2, 2, lambda n: torch.randn(n, CODE))
    theirs = game.generator
    for i, layer in enumerate(theirs.mapping.layers):
        dense(layer, w_params[f"dense_{i}"])
    put(theirs.constant, np.asarray(g_params["constant"]).transpose(2, 0, 1)[None])
    for i, side in enumerate((4, 8)):
        styled(theirs.convs[i], g_params[f"{side}_conv"])
        styled(theirs.images[i], g_params[f"{side}_image"])
    styled(theirs.ups[0], g_params["8_up"], up=True)
    parts = ("8_from_image", "8_conv", "8_down", "4_conv")
    for i, part in zip((0, 1, 2, 4), parts, strict=True):
        conv(game.discriminator[i], d_params[part])
    dense(game.discriminator[6], d_params["dense"])
    dense(game.discriminator[7], d_params["out"])

    def image(z: Any) -> Any:
        w, _ = mapping.apply(w_params, w_stats, z, train=False)
        return g.apply(g_params, g_stats, w, train=False)[0]

    def logits(params: Any, x: Any) -> Any:
        return d.apply(params, d_stats, x, train=False)[0]

    return game, image, logits, d_params


def test_stylegan2_images_and_logits(played: Any) -> None:
    """The noise's strength is 0 here: theirs is drawn."""
    game, image, logits, params = played
    close(image_last(game.generator(torch.from_numpy(Z))), jax.jit(image)(Z))
    close(game.discriminator(image_first(X)), jax.jit(logits)(params, X))


def test_stylegan2_r1_and_its_gradient(played: Any) -> None:
    game, _, logits, params = played

    @jax.jit
    @jax.value_and_grad
    def r1(params: Any) -> Any:
        slope = jax.grad(lambda x: logits(params, x).sum())(jnp.asarray(X))
        return game.gamma / 2 * (slope**2).sum((1, 2, 3)).mean()

    value, gradient = r1(params)
    penalty = game.penalty(image_first(X))
    penalty.backward()
    close(penalty, value)
    close(game.discriminator[2].kernel.grad.permute(2, 3, 1, 0), gradient["8_down"]["kernel"])
