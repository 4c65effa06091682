"""SNGAN's networks against its authors' code: sngan.npz, which make_sngan.py wrote."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.networks import sngan
from latentgen.networks.net import bound_output
from tests.parity import make_sngan, trees
from tests.parity.trees import Leaf, conv, dense, to_image
from tests.parity.weights import fill

WIDTH = make_sngan.WIDTH
CONVS = {"Conv_0": "c1", "Conv_1": "c2", "Conv_2": "c_sc"}
NAMES = {"gain": "gammas", "bias": "betas", "embedding": "l_y"}
MOMENTS = {"mean": "avg_mean", "var": "avg_var"}
STORED = np.load(Path(__file__).with_name("sngan.npz"))


def generator_leaf(path: tuple[str, ...], shape: tuple[int, ...]) -> Leaf:
    block, keys = block_and_keys(path, first=2)
    *modules, last = keys
    if modules == ["linear"]:
        return to_image(f"l1.{'W' if last == 'kernel' else 'b'}", shape, (4, 4, WIDTH))
    if modules == ["Conv_0"] and not block:
        return leaf("c5", last)
    if modules[0].startswith("Conv_"):
        return leaf(f"{block}.{CONVS[modules[0]]}", last)
    norm = f"{block}.b{int(modules[0][-1]) + 1}" if block else "b5"
    if last in MOMENTS:
        kind = {"scale": 0.1, "offset": 1.0} if last == "var" else {}
        return Leaf(f"{norm}.{MOMENTS[last]}", (0,), **kind)
    if last == "kernel":
        return Leaf(f"{norm}.{NAMES[modules[1]]}.W", (0, 1))
    if last == "scale" and not block:
        return Leaf("b5.gamma", (0,), scale=0.1, offset=1.0)
    return Leaf(f"{norm}.{'gamma' if last == 'scale' else 'beta'}", (0,))


def discriminator_leaf(path: tuple[str, ...], shape: tuple[int, ...]) -> Leaf:
    block, (module, last) = block_and_keys(path, first=1)
    if module == "linear":
        return leaf("l5", last, dense)
    if module == "embedding":
        return leaf("l_y", last, dense)
    return leaf(f"{block}.{CONVS[module]}", last)


def block_and_keys(path: tuple[str, ...], first: int) -> tuple[str, list[str]]:
    """The authors' name of the block, '' outside blocks, and the rest of ours."""
    keys = [key for each in path for key in each.split("/")]  # as in "Conv_0/kernel/u"
    keys = [key for key in keys if not key.startswith(("batch_stats", "SpectralNorm"))]
    if keys[-1] in ("u", "sigma"):
        keys.remove("kernel")
    if "Block" not in keys[0]:
        return "", keys
    return f"block{int(keys[0].rpartition('_')[2]) + first}", keys[1:]


def leaf(module: str, last: str, kernel: trees.Kernel = conv) -> Leaf:
    if last == "kernel":
        return kernel(f"{module}.W")
    if last == "u":
        return Leaf(f"{module}.u", (0, 1), scale=1.0)
    return Leaf("", ()) if last == "sigma" else Leaf(f"{module}.b", (0,))


@pytest.mark.parametrize("case", make_sngan.CASES)
def test_generator(case: str) -> None:
    classes = make_sngan.CASES[case]
    net = bound_output(
        sngan.generator((32, 32, 3), width=WIDTH, classes=classes), -1.0, 1.0, "tanh"
    )
    z = fill(f"{case}.z", (len(make_sngan.LABELS), make_sngan.CODE_DIM), 1.0)
    inputs = [jnp.asarray(z)] + ([one_hot(classes)] if classes else [])
    whole = trees.joined(net)
    assert trees.compare(whole, inputs, generator_leaf, f"{case}.generator.", STORED) == []


@pytest.mark.parametrize("case", make_sngan.CASES)
def test_discriminator(case: str) -> None:
    classes = make_sngan.CASES[case]
    net = sngan.discriminator(outputs=1, width=WIDTH)
    x = fill(f"{case}.x", (len(make_sngan.LABELS), 3, 32, 32), 0.5).transpose(0, 2, 3, 1)
    inputs = [jnp.asarray(x)] + ([one_hot(classes)] if classes else [])
    assert trees.compare(net, inputs, discriminator_leaf, f"{case}.discriminator.", STORED) == []


def one_hot(classes: int) -> jnp.ndarray:
    return jnp.asarray(np.eye(classes, dtype=np.float32)[make_sngan.LABELS])


@pytest.mark.parametrize("name", make_sngan.FULL)
def test_counts_at_full_size(name: str) -> None:
    classes = make_sngan.FULL[name]
    generator = sngan.generator((32, 32, 3), classes=classes)
    assert trees.count(generator, (128 + classes,)) == STORED[f"{name}.G.count"]
    shapes = ((32, 32, 3), (classes,)) if classes else ((32, 32, 3),)
    assert trees.count(sngan.discriminator(outputs=1), *shapes) == STORED[f"{name}.D.count"]
