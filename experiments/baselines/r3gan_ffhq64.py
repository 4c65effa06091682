"""R3GAN on FFHQ at 64x64: Huang et al. 2024, `experiments/gan.py:r3gan_ffhq64`."""

from experiments.baselines._images import baseline, fid

BASELINE = baseline(
    "R3GAN on FFHQ at 64x64, in full",
    "r3gan_ffhq64",
    "r3gan",
    (
        fid(
            "huang2024",
            "the table of FIDs",
            "FFHQ at 64x64",
            1.95,
            "quoted",
            arm="r3gan",
            name="folder",
            split="train",
            real=70000,
        ),
    ),
    {"r3gan": {}},
    (
        "one seed: a run is long; an interval needs more (--seeds)",
        "as their preset it ends after 10^10 images, which is never; the length of the run with "
        "this FID was not read: stop it, then measure with latentgen.evaluate",
        "the deviations that stand beside the recipe in experiments/gan.py",
    ),
    split="train",
    samples=50000,
)
