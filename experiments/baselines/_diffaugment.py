"""BigGAN on CIFAR-10, without and with DiffAugment, on all images or on few.

Settings and numbers are those of mit-han-lab/data-efficient-gans 0b63395, in
DiffAugment-biggan-cifar: scripts/biggan-cifar10.sh and its five siblings, README.md.
"""

from experiments.baselines._images import baseline, fid


def limited(images, epochs, alone, augmented):
    """The baseline of these first images; a step has four batches of 50.

    Args:
        alone, augmented: FID of BigGAN, and of BigGAN with DiffAugment.
    """
    share = f"{images // 500}% of the data"
    arms = {"biggan": ("BigGAN", alone), "diffaugment": ("BigGAN + DiffAugment", augmented)}
    claims = [
        fid(
            "zhao2020",
            f"the authors' table of models, {model}, {share}",
            "CIFAR-10",
            value,
            "code",
            arm=arm,
            name="cifar10",
            split="test",
            real=10_000,
            samples=10_000,
        )
        for arm, (model, value) in arms.items()
    ]
    return baseline(
        f"BigGAN on CIFAR-10, {share}, without and with DiffAugment, in full",
        "biggan_cifar10",
        "biggan",
        tuple(claims),
        {"biggan": {}, "diffaugment": {"method.augment": "diffaugment:translation,cutout"}},
        (
            "one seed: a run is long; an interval needs more (--seeds)",
            "the last weights; theirs are the best by FID of all that were saved",
            *(["the first images; theirs are drawn"] if images < 50_000 else []),
            "the deviations that stand beside the recipe in experiments/gan.py",
        ),
        split="test",
        samples=10_000,
        changes={
            "steps": images * epochs // 200,
            "data.augment": ("flip",),
            "data.validation": 50_000 - images,
        },
    )
