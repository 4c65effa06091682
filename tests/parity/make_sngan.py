"""Write sngan.npz: what the networks of SNGAN's authors compute, small, with our weights.

    python -m tests.parity.make_sngan CLONE

CLONE: a checkout of pfnet-research/sngan_projection at e84b1a5; needs chainer 7.8.1 and a NumPy
before 1.24, which the tests do not. The division of a vector by its length, which the authors wrote
as a kernel for GPUs, is NumPy's here.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.weights import direction, fill, summary

WIDTH, CODE_DIM = 4, 6
CASES = {"unconditional": 0, "conditional": 3}  # classes
LABELS = np.array([0, 2, 1])
FULL = {"unconditional": 0, "conditional": 10}
BUFFERS = ("u", "avg_mean", "avg_var")


def set_weights(net: Any, prefix: str) -> dict[str, np.ndarray]:
    """Fill parameters and buffers by their names; return the buffers."""
    for path, value in net.namedparams():
        name = plain(path)
        kind = {"offset": 1.0, "scale": 0.1} if name.endswith("b5.gamma") else {}
        value.data[...] = fill(prefix + name, value.shape, **kind)
        if name.endswith("gammas.W"):
            value.data[...] += 1
    buffers = {}
    for path, link in net.namedlinks():
        for last in sorted(link._persistent & set(BUFFERS)):
            name = plain(f"{path}/{last}")
            buffers[name] = getattr(link, last)
            kinds = {"u": {"scale": 1.0}, "avg_var": {"offset": 1.0, "scale": 0.1}}
            buffers[name][...] = fill(prefix + name, buffers[name].shape, **kinds.get(last, {}))
    return buffers


def plain(path: str) -> str:
    return path.strip("/").replace("/", ".")


def record(net: Any, prefix: str, x: np.ndarray, call: Any) -> dict[str, np.ndarray]:
    """Outputs in training and then in evaluation, gradients in training, buffers after it."""
    import chainer

    buffers = set_weights(net, prefix)
    x = chainer.Variable(x)
    net.cleargrads()
    y = call(x)
    along = direction(prefix + "output", y.shape).astype(np.float32)
    chainer.functions.sum(y * along).backward()
    found = {"output": part(y.data), "output.summary": summary(prefix + "output", y.data)}
    gradients = {plain(path): p.grad for path, p in net.namedparams()} | {"input": x.grad}
    for kind, values in (("gradients", gradients), ("buffers", buffers)):
        found[f"{kind}.names"] = np.array(list(values))
        found[kind] = np.array([summary(prefix + name, v) for name, v in values.items()])
    with chainer.using_config("train", False):
        found["evaluation"] = part(call(x).data)
    return {prefix + name: value for name, value in found.items()}


def part(y: np.ndarray) -> np.ndarray:
    """Some pixels of an image, all of anything else."""
    return y[:, :, 1::5, 2::5] if y.ndim == 4 else y


def main(clone: str) -> None:
    sys.path.insert(0, clone)
    from source.functions import max_sv

    max_sv._l2normalize = lambda v, eps: v / (np.sqrt((v * v).sum()) + eps)
    from dis_models.snresnet_32 import SNResNetProjectionDiscriminator
    from gen_models.resnet_32 import ResNetGenerator

    found: dict[str, np.ndarray] = {}
    for name, classes in CASES.items():
        label = LABELS.astype(np.int32) if classes else None
        g = ResNetGenerator(ch=WIDTH, dim_z=CODE_DIM, n_classes=classes)
        z = fill(f"{name}.z", (len(LABELS), CODE_DIM), 1.0)
        found |= record(g, f"{name}.generator.", z, lambda z, g=g, y=label: g(len(LABELS), z, y))
        d = SNResNetProjectionDiscriminator(ch=WIDTH, n_classes=classes)
        x = fill(f"{name}.x", (len(LABELS), 3, 32, 32), 0.5)
        found |= record(d, f"{name}.discriminator.", x, lambda x, d=d, y=label: d(x, y))
    for name, classes in FULL.items():
        for player, net in (
            ("G", ResNetGenerator(n_classes=classes)),
            ("D", SNResNetProjectionDiscriminator(n_classes=classes)),
        ):
            found[f"{name}.{player}.count"] = np.array(sum(p.size for p in net.params()))
    np.savez_compressed(Path(__file__).with_name("sngan.npz"), **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
