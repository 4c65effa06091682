"""Running statistics of the discriminator's turn: the probability p of ADA, LeCam's averages.

Each is stored as the stats of a player without parameters, 'augment' or 'lecam', so that
checkpoints include it.
"""

from collections.abc import Mapping
from typing import Any

from latentgen.core.types import PyTree
from latentgen.objectives import regularizers as regularization
from latentgen.objectives.adversarial import Logits
from latentgen.objectives.augment import Augmentation, control
from latentgen.objectives.regularizers import Regularizers


def start(augmentation: Augmentation | None, regularizers: Regularizers) -> dict[str, PyTree]:
    """Return the initial stats of each tracker that is in use."""
    found: dict[str, PyTree] = {}
    if augmentation is not None and augmentation.control is not None:
        found["augment"] = control.init(0.0 if augmentation.p is None else augmentation.p)
    if regularizers.lecam:
        found["lecam"] = regularization.no_averages()
    return found


def update(
    augmentation: Augmentation | None,
    stats: Mapping[str, Any],
    real: Logits,
    synthetic: Logits,
    images: int,
) -> dict[str, PyTree]:
    """Return the trackers' stats after an update of the discriminator with these logits.

    Args:
        images: number of real examples in this update.
    """
    found: dict[str, PyTree] = {}
    if augmentation is not None and augmentation.control is not None:
        found["augment"] = control.update(augmentation.control, stats["augment"], real, images)
    if "lecam" in stats:
        found["lecam"] = regularization.average_logits(stats["lecam"], real, synthetic)
    return found
