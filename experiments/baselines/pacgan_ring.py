"""Lin et al. 2018 on 8 normals on a ring: a GAN loses modes that PacGAN2 keeps.

Generator 4 x 400 with batch norm, discriminator 3 x 200 maxout, Adam 1e-4: `experiments/gan.py:
pacgan_ring`. The `cpu` budget is a quarter of their 400,000 steps: there the order is the claim, of
five seeds, as many as were run once: the record of two is lost, and the three that are left do not
decide it.
"""

from experiments.baselines._pacgan import RING, baseline

BASELINE = baseline(
    "ring",
    RING,
    {"gan": (6.3, 0.5, 0.45, 0.09), "pacgan2": (7.9, 0.1, 0.07, 0.03)},
    {"smoke": 0.5, "cpu": 130, "paper": 300},
    cpu_seeds=5,
)
