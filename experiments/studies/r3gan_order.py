"""Modes that R3GAN's loss and a GAN's keep with R3GAN's own network: 1,000 modes, three seeds each.

    python -m experiments.studies.r3gan_order [--seeds 0 1 2] [--data_dir DIR]

The ablation of Huang et al. 2024 (arXiv:2501.05441) on other data: both rows have
`experiments/gan.py:r3gan` (its network, narrow; R1 and R2 with its schedules) on three
Fashion-MNIST images as colour planes, and differ in the loss alone. Theirs has StackedMNIST and a
longer run; what it gives is 1000 modes against 693. A run is 2,500 steps of 32 images.

Modes are counted by the shipped classifier in 26,000 samples, as PacGAN does (Lin et al. 2018,
arXiv:1712.04086), beside the same count corrected for the classifier's confusions and the KL
divergence from the data's modes; the last rows are real images, real images without a class, and
noise. A pair of rows has the same initial weights, minibatches and codes for each seed.

Results are kept in experiments/studies/results/r3gan_order.json after each run; the same command
continues.
"""

from experiments.studies.seeds import Row, Study, main

DATA = {"data.name": "stacked_fashion_mnist"}
STUDY = Study(
    rows={
        "relativistic + R1 + R2": Row("gan.py:r3gan", DATA),
        "nonsaturating + R1 + R2": Row("gan.py:r3gan", DATA | {"method.loss": "nonsaturating"}),
    },
    metrics=("modes",),
    columns={
        ("modes", "captured"): "modes of 1,000",
        ("modes", "captured_corrected"): "corrected",
        ("modes", "reverse_kl"): "reverse KL",
        ("modes", "reverse_kl_corrected"): "corrected",
        ("modes", "confident"): "confident",
    },
    references=("real", "removed", "noise"),
)

if __name__ == "__main__":
    main(STUDY, "r3gan_order", __doc__)
