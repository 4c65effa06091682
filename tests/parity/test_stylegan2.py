"""StyleGAN2's networks and path lengths against the authors' code, at the same weights."""

import functools
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.networks import stylegan2
from latentgen.objectives.path_length import lengths_of, penalized
from latentgen.objectives.penalties import grad_norm_sq
from tests.parity.make_stylegan2 import (
    ARCHITECTURES,
    CHANNELS,
    CLASSES,
    CODES,
    GROUP,
    GROUP_FEATURES,
    SIDE,
    STYLES,
    weight,
)
from tests.parity.weights import close, direction, fill, summary

THEIRS = np.load(Path(__file__).with_name("stylegan2.npz"))
LONG = pytest.mark.long
KEY = jax.random.key(0)
ONE_HOT = jnp.eye(CLASSES)[jnp.array([0, 1, 2, 0])]
LAYERS = {  # ours -> theirs
    "up": "conv0",
    "conv": "conv1",
    "down": "conv1",
    "skip": "skip",
    "image": "torgb",
    "from_image": "fromrgb",
}


def quick(*names: str, of: tuple[str, ...]) -> list[Any]:
    return [name if name in names else pytest.param(name, marks=LONG) for name in of]


def their_name(path: tuple[str, ...], player: str) -> str:
    """The authors' name of a parameter, or of a constant noise, of ours."""
    *layers, last = path
    kind = {"kernel": "weight", "strength": "noise_strength", "constant": "noise_const"}
    last = kind.get(last, last)
    if path == ("constant",):
        return "b4.const"
    top = layers[0]
    if top == "mapping":
        return "mapping." + their_name(path[1:], "mapping")
    if top == "embedding" or top.startswith("dense_"):
        return f"{top.replace('embedding', 'embed').replace('dense_', 'fc')}.{last}"
    if top in ("dense", "out"):
        return f"b4.{'fc' if top == 'dense' else 'out'}.{last}"
    side, layer = re.fullmatch(r"(\d+)_(\w+)", top).groups()  # type: ignore[union-attr]
    name = LAYERS[layer]
    if player == "D":  # it has a convolution before the one that halves
        name = {"conv": "conv0" if side != "4" else "conv"}.get(layer, name)
    style = "affine." if layers[-1] == "style" else ""
    return f"b{side}.{name}.{style}{last}"


def to_theirs(name: str, a: Any) -> np.ndarray:
    """Our layout -> theirs."""
    a = np.asarray(a)
    if name == "b4.fc.weight":  # flattened images: ours (h, w, c), theirs (c, h, w)
        a = a.reshape(4, 4, -1, a.shape[-1]).transpose(2, 0, 1, 3).reshape(a.shape)
    if a.ndim == 4:
        return a.transpose(3, 2, 0, 1)
    return a.transpose(2, 0, 1) if a.ndim == 3 else a.T


def to_ours(name: str, a: np.ndarray) -> np.ndarray:
    """Their layout -> ours."""
    if a.ndim == 4:
        return a.transpose(2, 3, 1, 0)
    a = a.transpose(1, 2, 0) if a.ndim == 3 else a.T if not name.endswith("noise_const") else a
    if name == "b4.fc.weight":
        a = a.reshape(-1, 4, 4, a.shape[-1]).transpose(1, 2, 0, 3).reshape(a.shape)
    return a


def named(tree: Any, player: str) -> list[tuple[str, Any]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(their_name(tuple(k.key for k in path), player), leaf) for path, leaf in leaves]


def filled(tree: Any, player: str) -> Any:
    """The parameters, or the constant noises, with the weights of `make_stylegan2`."""

    def fill_one(path: Any, leaf: Any) -> jax.Array:
        name = their_name(tuple(k.key for k in path), player)
        shape = leaf.shape if name.endswith("noise_const") else to_theirs(name, leaf).shape
        prefix = "D." if player == "D" else ""
        return jnp.asarray(to_ours(name, weight(prefix + name, shape)))

    zeros = jax.tree.map(lambda s: np.zeros(s.shape), tree)
    return jax.tree_util.tree_map_with_path(fill_one, zeros)


def same_gradients(gradient: Any, case: str, player: str, tolerance: float = 1e-5) -> None:
    """The norm of every gradient and its product with a direction, relative to the norm.

    A scalar's gradient is a sum over pixels that partly cancels: three times the tolerance.
    """
    ours = dict(named(gradient, player))
    theirs = THEIRS[f"{case}.gradients"]
    assert len(ours) == len(theirs)
    for (name, value), expected in zip(sorted(ours.items()), theirs, strict=True):
        found = summary(name, to_theirs(name, value))
        error = np.abs(found - expected) / np.array([1, value.size**0.5])
        limit = tolerance * expected[0] * (1 if value.ndim else 3)
        assert error.max() <= limit, (case, name, found, expected)


def image(a: np.ndarray) -> jax.Array:
    return jnp.asarray(a.transpose(0, 2, 3, 1))


def test_mapping() -> None:
    net = stylegan2.mapping(width=STYLES, layers=3, classes=CLASSES)
    z = jnp.concatenate([fill("z", (4, CODES), 1.0), ONE_HOT], axis=1)
    params, stats = jax.eval_shape(net.init, KEY, z)
    params, stats = filled(params, "mapping"), jax.tree.map(lambda s: jnp.zeros(s.shape), stats)

    @jax.jit
    def scalar(params: Any) -> Any:
        w, after = net.apply(params, stats, z, train=True)
        return (w * direction("w", w.shape).astype(np.float32)).sum(), (w, after)

    gradient, (w, after) = jax.grad(scalar, has_aux=True)(params)
    assert close(w, THEIRS["mapping"])
    assert close(stylegan2.mean_style(after), THEIRS["mapping.average"])
    same_gradients(gradient, "mapping", "mapping")


def cast(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda a: a.astype(dtype), tree)


@functools.cache
def synthesis(
    architecture: str, noise: bool, dtype: Any = np.float32
) -> tuple[Any, Any, Any, jax.Array]:
    side = SIDE[architecture]
    shape = (side, side, 3)
    net = stylegan2.generator(
        shape, architecture=architecture, noise=noise, dtype=dtype, **CHANNELS
    )
    w = jnp.asarray(fill("w", (2, stylegan2.style_levels(shape), STYLES), 1.0), dtype)
    params, stats = jax.eval_shape(net.init, KEY, w)
    return (
        net,
        cast(filled(params, "G"), dtype),
        cast(filled(stats.get("noise", {}), "G"), dtype),
        w,
    )


@pytest.mark.parametrize("architecture", quick("skip", of=ARCHITECTURES))
def test_generator(architecture: str) -> None:
    side, case = SIDE[architecture], f"synthesis.{architecture}"
    to = image(direction("image", (2, 3, side, side)).astype(np.float32))
    net, params, _, w = synthesis(architecture, False)
    without, _ = jax.jit(lambda p: net.apply(p, {}, w, train=True))(params)
    assert close(without, image(THEIRS[f"{case}.none"]))

    net, params, noise, w = synthesis(architecture, True)
    stats = {"noise": noise}

    def scalar(params: Any) -> Any:
        x, _ = net.apply(params, stats, w, train=True)
        return (x * to).sum(), x

    gradient, x = jax.jit(jax.grad(scalar, has_aux=True))(params)
    assert close(x, image(THEIRS[f"{case}.const"]))
    same_gradients(gradient, case, "G")


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("architecture", quick("orig", of=ARCHITECTURES))
def test_path_lengths(architecture: str) -> None:
    side, case = SIDE[architecture], f"synthesis.{architecture}.path"
    net, params, noise, w = synthesis(architecture, True, np.float64)
    noise_image = image(fill("path", (2, 3, side, side), 1 / side).astype(np.float64))

    def loss(params: Any) -> Any:
        draw = lambda w: net.apply(params, {"noise": noise}, w, train=True)[0]  # noqa: E731
        lengths = lengths_of(draw, w, noise_image)
        penalty, mean = penalized(lengths, jnp.float64(0.5))
        return penalty.mean(), (jnp.stack([lengths, penalty]), mean)

    gradient, (values, mean) = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert close(values, THEIRS[case], 1e-6)
    assert close(mean, THEIRS[f"{case}.mean"], 1e-6)
    same_gradients(gradient, case, "G", 1e-9)


def scored(architecture: str, classes: int, dtype: Any) -> tuple[Any, Any, jax.Array]:
    """Weights -> logits of x; the weights; x."""
    net = stylegan2.discriminator(
        outputs=1,
        architecture=architecture,
        group=GROUP,
        group_features=GROUP_FEATURES,
        classes=classes,
        dtype=dtype,
        **CHANNELS,
    )
    x = image(fill("x", (4, 3, 16, 16), 1.0).astype(dtype))
    one_hot = (ONE_HOT,) if classes else ()
    params = cast(filled(jax.eval_shape(net.init, KEY, x, *one_hot)[0], "D"), dtype)
    return lambda p, x: net.apply(p, {}, x, *one_hot, train=True)[0], params, x


DISCRIMINATORS = pytest.mark.parametrize(
    ("architecture", "classes"),
    [*(pytest.param(a, 0, marks=LONG) for a in ARCHITECTURES), ("resnet", CLASSES)],
)


@DISCRIMINATORS
def test_discriminator(architecture: str, classes: int) -> None:
    case = f"discriminator.{architecture}.{classes}"
    logits, params, x = scored(architecture, classes, np.float32)
    to = direction("logits", (4, 1)).astype(np.float32)

    def scalar(params: Any) -> Any:
        y = logits(params, x)
        return (y * to).sum(), y

    gradient, y = jax.jit(jax.grad(scalar, has_aux=True))(params)
    assert close(y, THEIRS[case])
    same_gradients(gradient, case, "D")


@pytest.mark.usefixtures("x64")
@DISCRIMINATORS
def test_r1(architecture: str, classes: int) -> None:
    case = f"discriminator.{architecture}.{classes}.r1"
    logits, params, x = scored(architecture, classes, np.float64)

    def r1(params: Any) -> Any:
        penalty = grad_norm_sq(lambda x: logits(params, x)[:, 0], x)
        return penalty.mean(), penalty

    gradient, penalty = jax.jit(jax.grad(r1, has_aux=True))(params)
    assert close(penalty, THEIRS[case], 1e-6)
    same_gradients(gradient, case, "D", 1e-9)


def count(net: Any, *shapes: tuple[int, ...]) -> int:
    params, _ = jax.eval_shape(net.init, KEY, *map(jnp.zeros, shapes))
    return sum(a.size for a in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("side", "base", "architecture", "layers", "expected"),
    [  # mapping, synthesis, discriminator without and with 10 classes, counted in their networks
        (32, 32768, "orig", 2, (525_312, 19_422_227, 20_720_641, 23_089_664)),  # --cfg=cifar
        (256, 16384, "resnet", 8, (2_101_248, 22_666_210, 24_001_089, 26_370_112)),  # paper256
    ],
)
def test_as_many_parameters(
    side: int, base: int, architecture: str, layers: int, expected: tuple[int, ...]
) -> None:
    shape = (side, side, 3)
    mapping = stylegan2.mapping(layers=layers)
    generator = stylegan2.generator(shape, channel_base=base)
    plain, told = (
        stylegan2.discriminator(
            outputs=1, channel_base=base, architecture=architecture, classes=classes
        )
        for classes in (0, 10)
    )
    found = count(mapping, (1, 512)), count(generator, (1, 512)), count(plain, (1, *shape))
    assert (*found, count(told, (1, *shape), (1, 10))) == expected
