"""Lin et al. 2018 on 25 normals on a grid: a GAN loses modes that PacGAN2 keeps.

The same networks as on the ring: `experiments/gan.py:pacgan_grid`. The `cpu` budget is a quarter of
their 400,000 steps: there the order is the claim.
"""

from experiments.baselines._pacgan import GRID, baseline

BASELINE = baseline(
    "grid",
    GRID,
    {"gan": (17.3, 0.8, 0.70, 0.07), "pacgan2": (23.8, 0.7, 0.13, 0.04)},
    {"smoke": 0.5, "cpu": 80, "paper": 300},
)
