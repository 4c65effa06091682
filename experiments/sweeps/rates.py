"""Learning rates of the digits GAN: 3 x 3 settings, 3 seeds, one program.

python -m latentgen.sweep --config experiments/gan.py --sweep experiments/sweeps/rates.py \
        --workdir runs/rates
"""


def get_sweep(h):
    return h.product(
        [
            h.sweep("config.generator_optimizer.lr", [1e-4, 2e-4, 1e-3]),
            h.sweep("config.discriminator_optimizer.lr", [1e-4, 2e-4, 1e-3]),
            h.sweep("config.seed", range(3)),
        ]
    )
