"""Nearest training images by the features of the data set's classifier."""

import jax.numpy as jnp
import numpy as np
import pytest
from untrained import subject

from latentgen.core.types import Method
from latentgen.data.dataset import Examples
from latentgen.evaluation import features
from latentgen.evaluation.measures.subject import Subject
from latentgen.reporting import neighbours


@pytest.fixture(scope="module")
def copier() -> Subject:
    """A run on the digits whose samples are training images, one pixel further to the right."""
    found = subject("vae", "digits")
    x = np.roll(found.run.dataset.splits["train"].x[100 : 100 + neighbours.SAMPLES], 1, axis=2)
    copies = jnp.asarray(x, jnp.float32) / 255
    method: Method = found.run.method._replace(sample=lambda state, key, n: copies[:n])
    return found._replace(run=found.run._replace(method=method))


def test_neighbours_are_those_of_the_classifier_in_blocks_of_any_size(
    copier: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = neighbours.neighbours(copier.run, copier.state)
    assert found.features == "digits"
    train = np.asarray(copier.run.dataset.splits["train"].x)
    embed = features.extractor("digits", (8, 8, 1), None).features
    known, own = (
        np.asarray(embed(jnp.asarray(x, jnp.float32) / 255), np.float64)
        for x in (train, np.roll(train[100:112], 1, axis=2))
    )
    for i in range(neighbours.SAMPLES):
        exact = np.sort(np.sqrt(((own[i] - known) ** 2).mean(axis=1)))
        np.testing.assert_allclose(found.distances[i], exact[:3], rtol=1e-3, atol=1e-3)
    monkeypatch.setattr(neighbours, "AT_ONCE", 333)
    again = neighbours.neighbours(copier.run, copier.state)
    np.testing.assert_allclose(again.distances, found.distances, rtol=1e-3, atol=1e-4)


def test_data_without_a_classifier_are_compared_by_pixels(copier: Subject) -> None:
    data = copier.run.experiment.data._replace(name="arrays")
    run = copier.run._replace(experiment=copier.run.experiment._replace(data=data))
    assert neighbours.extractor(run).name == "pixels"


def test_colour_images_are_compared_by_features(copier: Subject) -> None:
    data = copier.run.experiment.data._replace(name="folder:mine")
    x = np.zeros((4, 32, 32, 3), np.uint8)
    splits = {"train": Examples(x, np.zeros(4, np.int32))}
    dataset = copier.run.dataset._replace(splits=splits)
    experiment = copier.run.experiment._replace(data=data)
    run = copier.run._replace(experiment=experiment, dataset=dataset)
    assert neighbours.extractor(run).name == "sprites"
