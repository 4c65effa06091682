"""Batch norm over one example leaves nothing of it: refused, whatever the network."""

import pytest

from experiments import gan, vae
from latentgen import configs
from latentgen.core.errors import BadInput
from latentgen.sweeps.plan import changed


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (gan, {"discriminator.norm": "batch", "batch_size": 1}),
        (gan, {"discriminator.norm": "batch", "batch_size": 3, "method.packing": 3}),
        (gan, {"generator.norm": "batch", "batch_size": 1}),
        (gan, {"generator.norm": "batch", "batch_size": 8, "microbatches": 8}),
        (vae, {"encoder.norm": "batch", "batch_size": 1}),
        (vae, {"decoder.norm": "batch", "batch_size": 1}),
    ],
)
def test_a_batch_of_one(config, changes):
    plain = changed(config.get_config(), changes)
    said = f"norm='batch' needs more than one .* config.batch_size={changes['batch_size']}"
    with pytest.raises(BadInput, match=said):
        configs.experiment(plain)
    more = changes | {"batch_size": 2 * changes["batch_size"]}
    configs.experiment(changed(config.get_config(), more))
