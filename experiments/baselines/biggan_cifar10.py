"""BigGAN on CIFAR-10 with DiffAugment, Zhao et al. 2020: `experiments/gan.py:biggan_cifar10`."""

from experiments.baselines._images import baseline, fid

# biggan-cifar10.sh and DiffAugment-biggan-cifar10.sh (mit-han-lab/data-efficient-gans 0b63395).
LAUNCHED = {"steps": 250_000, "data.augment": ("flip",), "data.validation": 0}

BASELINE = baseline(
    "BigGAN on CIFAR-10, without and with DiffAugment, in full",
    "biggan_cifar10",
    "biggan",
    (
        fid(
            "zhao2020",
            "the table of CIFAR-10, BigGAN, all data",
            "CIFAR-10",
            9.59,
            "code",
            arm="biggan",
            name="cifar10",
            split="test",
            real=10000,
            samples=10000,
        ),
        fid(
            "zhao2020",
            "the table of CIFAR-10, BigGAN + DiffAugment, all data",
            "CIFAR-10",
            8.7,
            "code",
            arm="diffaugment",
            name="cifar10",
            split="test",
            real=10000,
            samples=10000,
        ),
    ),
    {
        "biggan": LAUNCHED,
        "diffaugment": LAUNCHED | {"method.augment": "diffaugment:translation,cutout"},
    },
    (
        "one seed: a run is long; an interval needs more (--seeds)",
        "the last weights; theirs are the best by FID of all that were saved",
        "the deviations that stand beside the recipe in experiments/gan.py",
    ),
    split="test",
    samples=10000,
)
