"""SNGAN on CIFAR-10: Miyato et al. 2018, `experiments/gan.py:sngan_cifar10`."""

from experiments.baselines._images import baseline, fid

BASELINE = baseline(
    "SNGAN's residual networks on CIFAR-10, in full",
    "sngan_cifar10",
    "sngan",
    (
        fid(
            "miyato2018",
            "the table of unsupervised image generation",
            "CIFAR-10",
            21.7,
            "quoted",
            arm="sngan",
            name="cifar10",
            split="test",
            real=10000,
            samples=5000,
            spread="+- 0.21",
        ),
    ),
    {"sngan": {}},
    (
        "one seed: a run is long; an interval needs more (--seeds)",
        "PyTorch's Inception weights for theirs",
    ),
    split="test",
    samples=5000,
)
