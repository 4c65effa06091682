"""BigGAN's networks against its author's code: biggan.npz, which make_biggan.py wrote."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.networks import biggan
from latentgen.networks.net import bound_output
from tests.parity import make_biggan, trees
from tests.parity.trees import Leaf, conv, dense, to_image
from tests.parity.weights import fill

CASES = {  # options of ours, (generator, discriminator), and channels of the smallest image
    "plain": ({"width": 2}, {"width": 2}, 8),
    "attention": (
        {"width": 2, "shared": 5, "hierarchical": True, "attention": (2,)},
        {"width": 2, "attention": (1, 2, 3, 4)},
        8,
    ),
    "wide": ({"width": 1, "shared": 5, "hierarchical": True}, {"width": 1}, 16),
}
CONVS = {"Conv_0": "conv1", "Conv_1": "conv2", "Conv_2": "conv_sc"}
MAPS = {"query": "theta", "key": "phi", "value": "g", "output": "o"}
LASTS = {"kernel": "weight", "bias": "bias", "u": "u0", "sigma": "sv0", "scale": "gain"}
MOMENTS = {"mean": "stored_mean", "var": "stored_var"}
STORED = np.load(Path(__file__).with_name("biggan.npz"))


def leaves(path: tuple[str, ...], shape: tuple[int, ...], smallest: int, table: bool) -> Leaf:
    """Theirs of one of our leaves.

    table: gains and biases of each class are an embedding in theirs, else a linear layer.
    """
    keys = [key for each in path for key in each.split("/")]  # as in "Conv_0/kernel/u"
    ours = ("batch_stats", "kernel", "SpectralNorm")
    modules = [key for key in keys[:-1] if not key.startswith(ours)]
    last = keys[-1]
    name = ".".join([*filter(None, map(theirs_of, modules))])
    top = not any("Block" in key for key in modules)
    if last in MOMENTS:
        name = "output_layer.0" if top else name
        kind = {"scale": 0.1, "offset": 1.0} if last == "var" else {}
        return Leaf(f"{name}.{MOMENTS[last]}", (0,), **kind)
    if last == "gamma":
        return Leaf(f"{name}.gamma", (), scale=0.1, offset=1.0)
    if modules[-1].startswith("ConditionalBatchNorm"):
        kind = {"scale": 0.1, "offset": 1.0} if last == "scale" else {}
        return Leaf(f"output_layer.0.{LASTS[last]}", (0,), **kind)
    if top and modules[-1] == "Conv_0":
        name = "output_layer.2"
    name = f"{name}.{LASTS[last]}"
    if last == "sigma":
        return Leaf(name, (), merged=(1,))
    if modules[-1] == "linear" and smallest:
        leaf = to_image(name, shape, (4, 4, smallest))
        return leaf._replace(scale=1.0) if last == "u" else leaf
    if last == "kernel":
        if modules[-1] == "shared" or (table and modules[-1] in ("gain", "bias")):
            return Leaf(name, (0, 1))
        return conv(name) if len(shape) == 4 else dense(name)
    return Leaf(name, tuple(range(len(shape))), scale=1.0 if last == "u" else None)


def theirs_of(module: str) -> str:
    head, _, number = module.rpartition("_")
    if head in ("GeneratorBlock", "DiscriminatorBlock"):
        return f"blocks.{number}.0"
    if head == "attention":
        return f"blocks.{int(number) - 1}.1"
    if head == "ConditionalBatchNorm":
        return f"bn{int(number) + 1}"
    if head == "Standardize":
        return ""
    return {"embedding": "embed"}.get(module, CONVS.get(module, MAPS.get(module, module)))


QUICK = [pytest.param(c, marks=[] if c == "attention" else pytest.mark.long) for c in CASES]


@pytest.mark.parametrize("case", QUICK)
def test_generator(case: str) -> None:
    ours, _, smallest = CASES[case]
    theirs = make_biggan.CASES[case]
    side, classes = theirs["resolution"], make_biggan.COMMON["n_classes"]
    net = biggan.generator((side, side, 3), classes=classes, **ours)
    z = fill(f"{case}.z", (len(make_biggan.LABELS), theirs["dim_z"]), 1.0)
    hot = np.eye(classes, dtype=np.float32)[make_biggan.LABELS]
    whole = trees.joined(bound_output(net, -1.0, 1.0, "tanh"))
    of = lambda path, shape: leaves(path, shape, smallest, "shared" not in ours)  # noqa: E731
    inputs = [jnp.asarray(z), jnp.asarray(hot)]
    assert trees.compare(whole, inputs, of, f"{case}.generator.", STORED) == []


@pytest.mark.parametrize("case", QUICK)
def test_discriminator(case: str) -> None:
    _, ours, _ = CASES[case]
    side, classes = make_biggan.CASES[case]["resolution"], make_biggan.COMMON["n_classes"]
    net = biggan.discriminator(outputs=1, **ours)
    x = fill(f"{case}.x", (len(make_biggan.LABELS), 3, side, side), 0.5).transpose(0, 2, 3, 1)
    hot = np.eye(classes, dtype=np.float32)[make_biggan.LABELS]
    of = lambda path, shape: leaves(path, shape, 0, False)  # noqa: E731
    inputs = [jnp.asarray(x), jnp.asarray(hot)]
    assert trees.compare(net, inputs, of, f"{case}.discriminator.", STORED) == []


@pytest.mark.parametrize("name", make_biggan.FULL)
def test_counts_at_full_size(name: str) -> None:
    theirs = make_biggan.FULL[name]
    side, classes, width = theirs["resolution"], theirs["n_classes"], theirs["ch"]
    g, d = {"width": width}, {"width": width}
    if name == "imagenet":
        g |= {"shared": theirs["shared_dim"], "hierarchical": True, "attention": (4,)}
        d |= {"attention": (1,)}
    generator = biggan.generator((side, side, 3), classes=classes, **g)
    assert trees.count(generator, (theirs["dim_z"] + classes,)) == STORED[f"{name}.G.count"]
    discriminator = biggan.discriminator(outputs=1, **d)
    found = trees.count(discriminator, (side, side, 3), (classes,))
    assert found == STORED[f"{name}.D.count"]
