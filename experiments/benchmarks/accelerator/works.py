"""The networks whose speed is measured: latentgen's configs, and PyTorch's peers by name."""

from typing import Any, NamedTuple

from experiments.benchmarks.accelerator.configs import Config, both, config, images, run_of
from experiments.benchmarks.trainer import Trainer
from latentgen.training import setup


class Work(NamedTuple):
    """A network to train.

    experiment, changes: latentgen's config.
    shape: of an image.
    widths: of the networks, which PyTorch's peer takes too.
    code: coordinates of a code.
    steps: in one call of the scan at batch 64.
    compiles: torch.compile can differentiate it.
    """

    what: str
    experiment: str
    changes: dict[str, Any]
    shape: tuple[int, int, int]
    widths: tuple[tuple[int, ...], ...]
    code: int
    steps: int
    compiles: bool = True


STILL = {"method.ema_decay": 0.0}
GAN = STILL | {"method.code_dim": 100, "method.prior": "normal"}
TWO = ("generator", "discriminator")


def works(dry: bool) -> dict[str, Work]:
    """All works by name; in a dry run narrow ones of the same kinds.

    StyleGAN2 joins with an entry here and a peer of the same name in peers.py, when latentgen
    has it.
    """
    conv = (4, 8) if dry else (64, 128, 256, 512)
    side = 16 if dry else 64
    small = 8 if dry else 32
    g_wide, d_wide = ((4,), (4,)) if dry else ((256, 256, 256), (128, 128))
    r_wide = (4,) if dry else (256, 256, 256)
    plain = {"network": "conv", "hidden": (), "channels": conv, "init": "normal02"}
    res = {"network": "resnet", "hidden": (), "init": "glorot"}
    mlp = (16,) if dry else (400,)
    return {
        "mlp_vae": Work(
            "MLP VAE 784-400-20",
            "vae:fashion",
            both("encoder", "decoder", hidden=mlp),
            *((28, 28, 1), (mlp,), 20, 20 if dry else 500),
        ),
        "conv_vae": Work(
            f"convolutional VAE {side}x{side}",
            "vae:conv",
            {"method.code_dim": 100} | both("encoder", "decoder", **plain),
            *((side, side, 3), (conv,), 100, 2 if dry else 20),
        ),
        "dcgan": Work(
            f"DCGAN {side}x{side}",
            "gan:dcgan",
            GAN | both(*TWO, **plain, norm="batch"),
            *((side, side, 3), (conv,), 100, 2 if dry else 20),
        ),
        "sngan": Work(
            f"SNGAN {small}x{small}",
            "gan:infogan_network",
            GAN
            | {"method.code_dim": 128, "method.discriminator_steps": 5, "method.loss": "hinge"}
            | {"generator.channels": g_wide, "discriminator.channels": d_wide}
            | {"discriminator.norm": "spectral", "discriminator.activation": "relu"}
            | both(*TWO, **res),
            *((small, small, 3), (g_wide, d_wide), 128, 2 if dry else 10),
        ),
        "r3gan": Work(
            f"residual network with R3GAN's loss {small}x{small}",
            "gan:r3gan_loss",
            GAN
            | {"method.code_dim": 64}
            | both(*TWO, **res, channels=r_wide, norm="none", activation="leaky_relu"),
            *((small, small, 3), (r_wide,), 64, 2 if dry else 10),
            compiles=False,
        ),
    }


PRECISIONS = {
    "TF32": ("tensorfloat32", "float32"),
    "bfloat16": ("tensorfloat32", "bfloat16"),
    "float32": ("highest", "float32"),
}
"""name -> (JAX's precision of products, the config's `compute`); by worth: the first is what users
have by default."""


def config_of(work: Work, precision: str, batch: int) -> Config:
    """latentgen's config of a work."""
    changes = work.changes | {
        "batch_size": batch,
        "compute": PRECISIONS[precision][1],
        "data.preprocess": "unit",
        "data.pad_to": 0,
    }
    return config(work.experiment, changes)


def run(work: Work, precision: str, batch: int, examples: int = 2048) -> setup.Run:
    """latentgen's run of a work on random images."""
    return run_of(config_of(work, precision, batch), images(max(examples, batch), work.shape))


def trainer(work: Work, precision: str, batch: int, steps: int) -> Trainer:
    """What trains it, `steps` to a call; trace and compile it under the work's precision."""
    return Trainer(run(work, precision, batch), steps)
