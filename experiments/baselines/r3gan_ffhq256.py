"""R3GAN on FFHQ at 256x256: Huang et al. 2024, `experiments/gan.py:r3gan_ffhq256`."""

from experiments.baselines._images import baseline, fid

BASELINE = baseline(
    "R3GAN on FFHQ at 256x256, in full",
    "r3gan_ffhq256",
    "r3gan",
    (
        fid(
            "huang2024",
            "the table of FIDs",
            "FFHQ at 256x256",
            2.75,
            "quoted",
            arm="r3gan",
            name="folder:ffhq256.zip",
            split="train",
            real=70000,
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
