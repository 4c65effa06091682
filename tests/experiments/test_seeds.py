"""Tables of studies with several seeds."""

import importlib
import math

import pytest

from experiments.studies.seeds import Row, Study, interval, table
from latentgen import configs
from latentgen.configs import recipes
from latentgen.configs.section import plain

STUDY = Study(
    {"a": Row("gan.py:ring", {"generator.hidden": (8,), "method.loss": "hinge"})},
    ("frechet",),
    {("frechet", "distance"): "distance"},
)


def test_half_an_interval_is_students() -> None:
    """t of 97.5% with two degrees of freedom is 4.3027; the deviation of 1, 2, 3 is 1."""
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 4.3027 / math.sqrt(3)), rel=1e-4)
    assert math.isnan(interval([5.0])[1])


def test_a_row_becomes_flags() -> None:
    assert STUDY.rows["a"].flags(3) == [
        *("--config=experiments/gan.py:ring", "--config.generator.hidden=8,"),
        *("--config.method.loss=hinge", "--config.seed=3"),
    ]


def test_references_stand_below_the_rows() -> None:
    values = {"frechet": {"distance": 2.0, "real_distance": 0.5, "noise_distance": 90.0}}
    seconds = {"0": (60, "cpu"), "1": (180, "cpu"), "2": (3_600, "TPU")}
    runs = {k: {"seconds": s, "device": d, "values": values} for k, (s, d) in seconds.items()}
    assert table(STUDY, {"a": runs}).splitlines()[2:] == [
        "| a | 2 ± 0 | 3 | 2 (cpu), 60 (TPU) |",
        "| *real* | 0.5 | | |",
        "| *noise* | 90 | | |",
    ]
    with_floor = STUDY._replace(references=("floor",))
    runs["0"]["values"]["frechet"]["floor"] = 0.25
    assert table(with_floor, {"a": runs}).splitlines()[3:] == ["| *floor* | 0.25 | | |"]


@pytest.mark.parametrize("name", ["small_data", "r3gan_order", "real_pictures"])
def test_rows_of_a_study_are_recipes(name: str) -> None:
    study: Study = importlib.import_module(f"experiments.studies.{name}").STUDY
    for row in study.rows.values():
        config = recipes.load(f"experiments/{row.recipe}")
        config.update_from_flattened_dict(dict(row.changes))
        assert configs.experiment(plain(config.to_dict())).steps >= 1_000
