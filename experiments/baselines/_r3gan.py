"""The claims of Huang et al. 2024 for R3GAN's loss, as a trend on other data."""

from latentgen.baselines.claims import Claim, Margin


def trend(here, name, synthetic, modes):
    """The relativistic loss with R1 + R2 keeps more modes than a GAN's with both.

    Args:
        here: the data in words, in place of StackedMNIST.
        name: of the data set.
        synthetic: the number of samples.
        modes: of the data.
    """
    return Claim(
        key="huang2024",
        where="the ablation on StackedMNIST",
        data="StackedMNIST",
        metric="modes",
        of="relativistic_r1_r2:modes/captured - gan_r1_r2:modes/captured",
        value=None,
        spread="1000 against 693",
        trust="quoted",
        margin=Margin(0.0, None),
        protocol={"data.name": name, "modes.split": "test", "modes.synthetic": synthetic},
        budgets=("cpu", "paper"),
        here=here,
        resolution=1.0,
        paired=True,  # weights at the start, minibatches and codes are those of the seed
        range=(0.0, modes),
    )
