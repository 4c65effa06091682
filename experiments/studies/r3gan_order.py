"""Modes that R3GAN's loss and a GAN's keep with R3GAN's own network: 1,000 modes, three seeds each.

    python -m experiments.studies.r3gan_order [--seeds 0 1 2] [--data_dir DIR]

The ablation of Huang et al. 2024 (arXiv:2501.05441) on other data: both rows have
`experiments/gan.py:r3gan` (its network, narrow; R1 and R2 with its schedules) on three
Fashion-MNIST images as colour planes, and differ in the loss alone. Theirs has StackedMNIST and a
longer run; what it gives is 1000 modes against 693. A run is 4,000 steps of 64 images, some two
hours of one core, with the schedules of `gan.py:r3gan` stretched to its length.

Modes are counted by the shipped classifier in 26,000 samples, as PacGAN does (Lin et al. 2018,
arXiv:1712.04086), beside the same count corrected for the classifier's confusions and the KL
divergence from the data's modes; the last rows are real images, real images without a class, and
noise. A pair of rows has the same initial weights, minibatches and codes for each seed.

Results are kept in experiments/studies/results/r3gan_order.json after each run; the same command
continues.
"""

from experiments.studies.seeds import Row, Study, main

BATCH, STEPS = 64, 4_000
IMAGES = BATCH * STEPS
OPTIMIZERS = ("generator_optimizer", "discriminator_optimizer")
CHANGES = {
    "data.name": "stacked_fashion_mnist",
    "batch_size": BATCH,
    "steps": STEPS,
    "every.validate": STEPS,
    "method.penalty_weight": f"cosine(10, 1, images={IMAGES})",
    "method.ema_images": f"cosine(0, {0.02 * IMAGES:g}, images={IMAGES})",
    **{f"{each}.lr": f"cosine(1e-3, 1e-4, images={IMAGES})" for each in OPTIMIZERS},
    **{f"{each}.b2": f"cosine(0.9, 0.99, images={IMAGES})" for each in OPTIMIZERS},
}
STUDY = Study(
    rows={
        "relativistic + R1 + R2": Row("gan.py:r3gan", CHANGES),
        "nonsaturating + R1 + R2": Row("gan.py:r3gan", CHANGES | {"method.loss": "nonsaturating"}),
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
