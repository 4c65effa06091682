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
    cycle: steps in which every turn is played once at least.
    """

    what: str
    experiment: str
    changes: dict[str, Any]
    shape: tuple[int, int, int]
    widths: tuple[tuple[int, ...], ...]
    code: int
    steps: int
    compiles: bool = True
    cycle: int = 1


STILL = {"method.ema_decay": 0.0}
GAN = STILL | {"method.code_dim": 100, "method.prior": "normal"}
TWO = ("generator", "discriminator")
CYCLE = 16  # steps of StyleGAN2 for each of R1
OPTIMIZERS = ("generator_optimizer", "discriminator_optimizer")
BARE = STILL | {
    "method.classes": 0,
    "method.condition": "concat",
    "method.augment": "none",
    "method.augment_p": 0.0,
    "method.augment_target": 0.0,
    "method.ema_images": 0.0,
    "method.ema_rampup": 0.0,
    "data.augment": (),
}
"""Of a recipe in full: networks, losses and optimizers alone."""


def works(dry: bool) -> dict[str, Work]:
    """All works by name, the slowest to compile last; narrow ones in a dry run."""
    conv = (4, 8) if dry else (64, 128, 256, 512)
    side = 16 if dry else 64
    small = 8 if dry else 32
    g_wide, d_wide = ((4,), (4,)) if dry else ((256, 256, 256), (128, 128))
    r_wide = (4,) if dry else (256, 256, 256)
    r3_wide, r3_groups = ((4, 8), (1, 2)) if dry else ((768,) * 4, (96,) * 4)
    base, most = (64, 8) if dry else (32768, 512)
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
        "r3gan_loss": Work(
            f"residual network with R3GAN's loss {small}x{small}",
            "gan:r3gan_loss",
            GAN
            | {"method.code_dim": 64}
            | both(*TWO, **res, channels=r_wide, norm="none", activation="leaky_relu"),
            *((small, small, 3), (r_wide,), 64, 2 if dry else 10),
            compiles=False,
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
            f"R3GAN {small}x{small}",
            "gan:r3gan_cifar10",
            BARE
            | {"method.code_dim": 64, "method.penalty_weight": 5.0}
            | both(*TWO, channels=r3_wide, groups=r3_groups, half=0)
            | both(*OPTIMIZERS, lr=2e-4, b2=0.999),
            *((small, small, 3), (r3_wide, r3_groups), 64, 2 if dry else 5),
            compiles=False,
        ),
        "stylegan2": Work(
            f"StyleGAN2 {small}x{small}",
            "gan:stylegan2_cifar10",
            BARE
            | {"method.code_dim": most, "mapping.width": most}
            | both(*TWO, channel_base=base, channel_max=most, half=0),
            *((small, small, 3), ((base, most),), most, CYCLE),
            cycle=CYCLE,
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
    """The work's trainer, `steps` a call; compile it under the work's precision."""
    return Trainer(run(work, precision, batch), steps)
