"""Lin et al. 2018 on 25 normals on a grid: three and four examples in a pack.

The recipe is that of `pacgan_grid`; apart from it, as a pack of four takes twice the time of two.
"""

from experiments.baselines._pacgan import GRID, baseline

BASELINE = baseline(
    "grid",
    GRID,
    {"pacgan3": (24.6, 0.4, 0.06, 0.02), "pacgan4": (24.8, 0.2, 0.04, 0.01)},
    {"smoke": 0.5, "cpu": None, "paper": None},
)
