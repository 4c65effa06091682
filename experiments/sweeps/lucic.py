r"""Lucic et al. 2018's wide search (arXiv:1711.10337): 100 draws for one GAN.

    python -m latentgen.sweep --config experiments/gan.py:nsgan \
        --sweep experiments/sweeps/lucic.py --workdir runs/lucic-nsgan

Drawn as in the paper and its authors' code: Adam's learning rate, 10^U[-5,-2], and beta1, U[0,1],
the same for both players; the discriminator's turns, 1 or 5; batch norm in it or none; the
penalty's weight, 10^U[-1,2], which only counts with a penalty. Turns and norms change the program:
the draws make four. One seed a draw; the paper then trains the best setting with 50 seeds.
"""

PLAYERS = ("generator", "discriminator")


def both(h, draw, key, domain):
    """One draw for both players' optimizers."""
    first = draw(f"config.generator_optimizer.{key}", domain)

    def row(place, seed):
        ((_, value),) = first.row(place, seed).items()
        return {
            f"config.{player}_optimizer.{key}": value for player in ("generator", "discriminator")
        }

    return h.Series(row, None)


def get_sweep(h):
    return h.zipit(
        [
            both(h, h.loguniform, "lr", h.interval(1e-5, 1e-2)),
            both(h, h.uniform, "b1", h.interval(0.0, 1.0 - 1e-4)),
            h.uniform("config.method.discriminator_steps", h.discrete([1, 5])),
            h.uniform("config.discriminator.norm", h.discrete(["none", "batch"])),
            h.loguniform("config.method.penalty_weight", h.interval(1e-1, 1e2)),
        ],
        length=100,
    )
