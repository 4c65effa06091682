"""StyleGAN2 with ADA on CIFAR-10: Karras et al. 2020, `experiments/gan.py:stylegan2_cifar10`."""

from experiments.baselines._images import baseline, fid

BASELINE = baseline(
    "StyleGAN2 with ADA on CIFAR-10, without and with classes, in full",
    "stylegan2_cifar10",
    "stylegan2",
    (
        fid(
            "karras2020ada",
            "the table of CIFAR-10, with classes",
            "CIFAR-10",
            2.42,
            "quoted",
            arm="classes",
            name="cifar10",
            split="train",
            real=50000,
        ),
    ),
    {"stylegan2": {}, "classes": {"method.classes": 10, "method.condition": "network"}},
    (
        "one seed: a run is long; an interval needs more (--seeds)",
        "2.42 is taken for their conditional model's, as the authors' cifar10.pkl is one; the "
        "number of the model without classes was not read: that arm has no claim",
    ),
    split="train",
    samples=50000,
)
