"""Lin et al. 2018 on 8 normals on a ring: three and four examples in a pack.

The recipe is that of `pacgan_ring`; apart from it, as a pack of four takes twice the time of two.
"""

from experiments.baselines._pacgan import RING, baseline

BASELINE = baseline(
    "ring",
    RING,
    {"pacgan3": (7.8, 0.1, 0.10, 0.02), "pacgan4": (7.8, 0.1, 0.07, 0.02)},
    {"smoke": 0.5, "cpu": None, "paper": None},
)
