"""A Bernoulli's score of grey values is no log-likelihood, and is not called one."""

import pytest
from untrained import OPTIONS, subject

from latentgen import configs
from latentgen.core.errors import BadInput
from latentgen.evaluation.measures import likelihood


@pytest.mark.parametrize(
    ("preprocess", "observation", "name"),
    [
        ("unit", None, "bernoulli_score"),
        ("threshold", None, "log_likelihood"),
        ("unit", 0.1, "log_likelihood"),
    ],
)
def test_it_is_named_by_what_it_is(preprocess: str, observation: float, name: str) -> None:
    one = subject("vae", "digits", data__preprocess=preprocess)
    options = OPTIONS._replace(images=4, k=2, chains=2, observation_std=observation)
    for measure in (likelihood.importance_sampled, likelihood.annealed):
        found = measure(one, options)
        assert {"bernoulli_score", "log_likelihood"} & found.values.keys() == {name}
        assert ("p(x|z)" in found.protocol) == (name == "bernoulli_score")


@pytest.mark.parametrize(("key", "value"), [("norm", "batch"), ("dropout", 0.1)])
def test_pseudo_inputs_meet_the_encoder_that_images_meet(key: str, value: object) -> None:
    """They met it as it is evaluated, while the posteriors in training met it otherwise."""
    changes = {"method__prior": "vamp", "method__kl": "sampled", "method__components": 4}
    one = subject("vae", "digits", **changes)
    config = dict(one.run.config)
    config["encoder"] = config["encoder"] | {key: value}
    with pytest.raises(BadInput, match=f"config.encoder.{key}=.*vamp"):
        configs.experiment(config)
