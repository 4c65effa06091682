"""R3GAN on ImageNet at 64x64: Huang et al. 2024, `experiments/gan.py:r3gan_imagenet64`."""

from experiments.baselines._images import baseline, fid

BASELINE = baseline(
    "R3GAN on ImageNet at 64x64, in full",
    "r3gan_imagenet64",
    "r3gan",
    (
        fid(
            "huang2024",
            "the table of FIDs",
            "ImageNet at 64x64",
            2.09,
            "quoted",
            arm="r3gan",
            name="folder",
            split="train",
            real=1281167,
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
