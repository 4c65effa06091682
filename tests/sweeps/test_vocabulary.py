"""The words of a sweep, in a file and on the command line."""

import math

import numpy as np
import pytest

from latentgen.core.errors import BadInput
from latentgen.sweeps import vocabulary as h
from latentgen.sweeps.engines import inline


def pairs(series: h.Series) -> list[tuple]:
    return [tuple(row.values()) for row in series.rows(0)]


def test_product_runs_the_last_fastest() -> None:
    found = h.product([h.sweep("config.a", [1, 2]), h.sweep("config.b", "xyz")])
    assert found.length == 6
    assert pairs(found) == [(1, "x"), (1, "y"), (1, "z"), (2, "x"), (2, "y"), (2, "z")]
    assert pairs(h.product([h.sweep("config.a", [1, 2]), h.fixed("config.b", 0)])) == [
        *[(1, 0), (2, 0)]
    ]
    assert len(h.product([h.sweep("config.a", range(9))], length=4).rows(0)) == 4


def test_zip_goes_together_and_chain_one_after_the_other() -> None:
    zipped = h.zipit([h.sweep("config.a", [1, 2]), h.sweep("config.b", "xy")])
    assert pairs(zipped) == [(1, "x"), (2, "y")]
    assert pairs(h.zipit([h.sweep("config.a", [1, 2]), h.fixed("config.b", 7, None)])) == [
        *[(1, 7), (2, 7)]
    ]
    chained = h.chainit([zipped, h.fixed("config.c", 5), h.sweep("config.a", [3])])
    assert chained.rows(0) == [
        *[{"config.a": 1, "config.b": "x"}, {"config.a": 2, "config.b": "y"}],
        *[{"config.c": 5}, {"config.a": 3}],
    ]


def test_draws_are_uniform_where_they_should_be() -> None:
    """Against the moments: a mean of 10,000 lies within 5 of its standard errors."""
    low, high, n = 1e-5, 1e-2, 10_000
    lr = [x for (x,) in pairs(h.loguniform("config.lr", h.interval(low, high), n))]
    assert min(lr) >= low
    assert max(lr) <= high
    middle, width = (math.log(low) + math.log(high)) / 2, math.log(high / low)
    assert np.mean(np.log(lr)) == pytest.approx(middle, abs=5 * width / 12**0.5 / n**0.5)
    x = [x for (x,) in pairs(h.uniform("config.x", h.interval(-1, 3), n))]
    assert np.mean(x) == pytest.approx(1, abs=5 * 4 / 12**0.5 / n**0.5)
    words = [w for (w,) in pairs(h.uniform("config.w", h.discrete(["a", "b", "c"]), n))]
    for word in "abc":
        assert words.count(word) / n == pytest.approx(1 / 3, abs=5 * 0.47 / n**0.5)


def test_a_draw_depends_on_its_key_its_place_and_the_seed_alone() -> None:
    a, b = (h.uniform(f"config.{key}", h.interval(0, 1)) for key in "ab")
    alone = h.zipit([a], length=3).rows(0)
    beside = h.zipit([b, a], length=5).rows(0)
    assert [row["config.a"] for row in beside[:3]] == [row["config.a"] for row in alone]
    assert {row["config.a"] for row in beside} & {row["config.b"] for row in beside} == set()
    assert h.zipit([a], length=3).rows(1) != alone


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: h.sweep("config.a", []), "config.a is swept over no value"),
        (lambda: h.product([h.uniform("config.a", (0, 1))]), "config.a is drawn without an end"),
        (lambda: h.zipit([h.sweep("config.a", [1]), h.sweep("config.b", [1, 2])]), "zip goes"),
        (lambda: h.uniform("config.a", (1, 0)), "the second must be larger"),
        (lambda: h.loguniform("config.a", (0, 1)), "must begin above 0"),
        (lambda: h.uniform("config.a", "nonsense"), "is no interval"),
        (
            lambda: h.product([h.sweep("config.a", [1]), h.sweep("config.a", [2])]).rows(0),
            "config.a is swept twice",
        ),
        (lambda: inline.swept("grid", "a=1"), "must look like"),
        (lambda: inline.swept("grid", "config.a="), "must look like"),
        (lambda: inline.drawn("config.a=1"), "must look like"),
        (lambda: inline.drawn("config.a=normal(0,1)"), "'normal' is unknown"),
        (lambda: inline.seeds("a:b"), "must look like 0:10"),
        (lambda: inline.seeds("3:3"), "at least one seed"),
        (lambda: inline.seeds("-1:2"), "none below 0"),
        (lambda: inline.series([], [], ["config.a=uniform(0,1)"], None), "--draws is missing"),
        (lambda: inline.series(["config.a=1"], [], [], 3), "needs a --draw"),
    ],
)
def test_what_describes_nothing_is_refused_in_a_line(make, said: str) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_values_are_read_as_on_the_command_line() -> None:
    assert inline.values("1,2.5,1e-3,word") == [1, 2.5, 1e-3, "word"]
    assert inline.values("(16,),(32,64),()") == [(16,), (32, 64), ()]
    assert inline.values("true,False,None") == [True, False, None]
    found = inline.series(
        ["config.a=1,2"], ["config.b=3,4", "config.c=x,y"], ["config.d=loguniform(1,10)"], 3
    )
    rows = h.product([*found, inline.seeds("0:2")]).rows(0)
    assert len(rows) == 2 * 2 * 3 * 2
    assert [row["config.seed"] for row in rows[:4]] == [0, 1, 0, 1]
    assert {(row["config.b"], row["config.c"]) for row in rows} == {(3, "x"), (4, "y")}
    assert len({row["config.d"] for row in rows}) == 3
