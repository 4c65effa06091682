"""StyleGAN2 with ADA on CIFAR-10: Karras et al. 2020, `experiments/gan.py:stylegan2_cifar10`."""

from experiments.baselines._images import baseline, fid

BASELINE = baseline(
    "StyleGAN2 with ADA on CIFAR-10 without classes, in full",
    "stylegan2_cifar10",
    "stylegan2",
    (
        fid(
            "karras2020ada",
            "the table of CIFAR-10",
            "CIFAR-10",
            2.42,
            "quoted",
            arm="stylegan2",
            name="cifar10",
            split="train",
            real=50000,
        ),
    ),
    {"stylegan2": {}},
    (
        "one seed: a run is long; an interval needs more (--seeds)",
        "2.42 is of their conditional model in some quotations: class or none was not read",
    ),
    split="train",
    samples=50000,
)
