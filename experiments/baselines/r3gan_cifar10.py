"""R3GAN on CIFAR-10: Huang et al. 2024, `experiments/gan.py:r3gan_cifar10`."""

from experiments.baselines._images import baseline, fid

BASELINE = baseline(
    "R3GAN on CIFAR-10, in full",
    "r3gan_cifar10",
    "r3gan",
    (
        fid(
            "huang2024",
            "the table of FIDs",
            "CIFAR-10",
            1.96,
            "quoted",
            arm="r3gan",
            name="cifar10",
            split="train",
            real=50000,
        ),
    ),
    {"r3gan": {}},
    (
        "one seed: a run is long; an interval needs more (--seeds)",
        "the deviations that stand beside the recipe in experiments/gan.py",
    ),
    split="train",
    samples=50000,
)
