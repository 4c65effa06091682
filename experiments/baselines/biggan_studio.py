"""BigGAN on CIFAR-10 in StudioGAN, Kang et al. 2023: `experiments/gan.py:biggan_studio`."""

from experiments.baselines._images import baseline, fid

BASELINE = baseline(
    "BigGAN on CIFAR-10 as StudioGAN has it, in full",
    "biggan_studio",
    "biggan",
    (
        fid(
            "kang2023",
            "the benchmark of CIFAR-10, BigGAN",
            "CIFAR-10",
            4.16,
            "code",
            arm="biggan",
            name="cifar10",
            split="train",
            real=50_000,
        ),
    ),
    {"biggan": {}},
    (
        "one seed: a run is long; an interval needs more (--seeds)",
        "the last weights; which of those that they saved theirs are was not read here",
        "the deviations that stand beside the recipe in experiments/gan.py",
    ),
    split="train",
    changes={"data.validation": 0},
)
