"""Charts: round ticks, paths where the data say, dashes, and names that cannot break out."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from latentgen.reporting import charts
from latentgen.reporting.charts import Axis, Dot, Line, Row


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        (0, 1, [0, 0.5, 1]),
        (0, 2000, [0, 500, 1000, 1500, 2000]),
        (-1.31, -0.94, [-1.3, -1.2, -1.1, -1.0]),
        (0.9999, 1.0001, [0.9999, 0.99995, 1.0, 1.00005, 1.0001]),
        (3, 3, [3]),
        (-129.8, -121.6, [-129, -128, -127, -126, -125, -124, -123, -122]),
    ],
)
def test_ticks_are_round(low: float, high: float, found: list[float]) -> None:
    assert charts.ticks(float(low), float(high)) == pytest.approx(found)


def test_log_ticks_are_powers_of_ten_and_few() -> None:
    assert charts.log_ticks(2e-4, 0.3) == pytest.approx([1e-3, 1e-2, 1e-1])
    assert charts.log_ticks(2.0, 8.0) == pytest.approx([2, 5])
    assert len(charts.log_ticks(1e-4, 1e30)) <= 6


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0"), (0.25, "0.25"), (1500, "1,500"), (20_000, "20k"), (3e6, "3M")),
        *(
            (2e-6, "2e\u22126"),
            (5e-4, "0.0005"),
            (-1.2, "\u22121.2"),
            (1e30, "1e30"),
            (-45_000, "\u221245k"),
        ),
    ],
)
def test_labels_are_short(value: float, text: str) -> None:
    assert charts.label(float(value)) == text


def test_an_axis_has_round_ends_and_says_when_it_is_cut() -> None:
    axis = charts.axis([0.13, 0.88], 0.0, 100.0)
    assert (axis.low, axis.high, axis.cut) == (pytest.approx(0), pytest.approx(1), False)
    cut = charts.axis([*([0.0, 1.0] * 50), 1e9], 0.0, 100.0)
    assert cut.cut
    assert cut.high < 2
    assert not charts.axis([0.0, 1.0, 1e9], 0.0, 100.0).cut  # too few to call one of them far out


def test_a_path_goes_through_its_points() -> None:
    across = Axis(0.0, 10.0, 0.0, 100.0, [])
    up = Axis(0.0, 1.0, 50.0, 0.0, [])
    assert (
        charts.path([(0.0, 0.0), (5.0, 1.0), (10.0, 0.5)], across, up)
        == "M0.0 50.0L50.0 0.0L100.0 25.0"
    )
    log = Axis(1.0, 100.0, 0.0, 100.0, [], log=True)
    assert log.at(10.0) == pytest.approx(50)


def paths(svg: str, kind: str) -> list[str]:
    tree = ElementTree.fromstring(svg)
    return [e.attrib["d"] for e in tree.iter("path") if e.attrib["class"].split()[0] == kind]


def test_lines_have_looks_of_their_own_and_members_lie_below_means() -> None:
    mean = Line("a", [(0.0, 0.0), (100.0, 1.0)], 0)
    member = Line("a1", [(0.0, 0.0), (50.0, 0.5), (100.0, 1.0)], 0, thin=True)
    svg = charts.line_chart(
        "told", [mean, member, Line("b", [(0.0, 1.0), (100.0, 0.0)], 9)], "c"
    ).svg
    thin, thick = paths(svg, "l0")
    assert thin.count("L") == 2
    right, bottom = charts.WIDTH - charts.RIGHT, charts.HEIGHT - charts.BOTTOM
    assert thick == f"M{charts.LEFT:.1f} {bottom:.1f}L{right:.1f} {charts.TOP:.1f}"
    assert len(paths(svg, "l1")) == 1  # the tenth look is the second again


def test_a_chart_without_values_is_empty_but_well_formed() -> None:
    svg = charts.line_chart("nothing", [Line("a", [], 0)], "c").svg
    assert paths(svg, "l0") == []


def test_thinning_keeps_first_and_last() -> None:
    points = [(float(i), 0.0) for i in range(1000)]
    kept = charts.thinned(points, 10)
    assert (len(kept), kept[0], kept[-1]) == (10, points[0], points[-1])
    assert charts.thinned(points[:7], 10) == points[:7]


def test_a_scatter_is_logarithmic_only_over_decades() -> None:
    def places(*values: float) -> list[float]:
        svg = charts.scatter_chart("t", [Dot("r", v, 1.0) for v in values], "lr", "h").svg
        return [float(x) for x in re.findall(r'<circle[^>]* cx="([\d.]+)"', svg)]

    a, b, c = places(1e-4, 1e-3, 1e-2)
    assert b - a == pytest.approx(c - b, abs=0.2)
    a, b, c = places(1.0, 2.0, 4.0)
    assert 2 * (b - a) == pytest.approx(c - b, abs=0.3)


def test_a_scatter_names_words_and_marks_runs_without_a_score() -> None:
    dots = [Dot("r0", "relu", 1.0), Dot("r1", "elu", 2.0), Dot("r2", "elu", None)]
    svg = charts.scatter_chart("told", dots, "activation", "h").svg
    assert ">relu</text>" in svg
    assert len(paths(svg, "x")) == 1
    assert svg.count("<circle") == 2


def test_an_interval_is_drawn_only_where_there_is_one() -> None:
    rows = [Row("a", 1.0, 0.5, 1.5, [0.8, 1.2]), Row("b", 2.0, None, None, [2.0])]
    svg = charts.interval_chart("told", rows, "loss").svg
    horizontal = [d for d in paths(svg, "l0") if "H" in d]
    assert len(horizontal) == 1


HELD = charts.Held([("seed 0", 1.0), ("seed 1", 3.0)], 2.0, -10.7, 14.7, 0.0, 4.0, 3.5)


def placed(svg: str, kind: str) -> list[dict[str, str]]:
    tree = ElementTree.fromstring(svg)
    return [e.attrib for e in tree.iter() if kind in e.attrib.get("class", "").split()]


def test_a_claim_is_drawn_on_one_axis() -> None:
    svg = charts.claim_chart("told", HELD, "nats").svg
    across = charts._claim_axis(HELD, charts.LEFT + 8, charts.WIDTH - charts.RIGHT)
    at = lambda value: pytest.approx(across.at(value), abs=0.06)  # noqa: E731
    (band,) = placed(svg, "band")
    assert float(band["x"]) == at(0.0)
    assert float(band["x"]) + float(band["width"]) == pytest.approx(across.at(4.0), abs=0.11)
    assert [float(dot["cx"]) for dot in placed(svg, "f")] == [at(1.0), at(3.0)]
    (mark,) = placed(svg, "mark")
    assert float(mark["d"][1:].split()[0]) == at(3.5)
    (mean,) = placed(svg, "w")
    assert float(mean["d"][1:].split()[0]) == at(2.0)
    interval = next(path["d"] for path in placed(svg, "s") if "H" in path["d"])
    assert [float(x) for x in re.findall(r"M([\d.]+) [\d.]+H([\d.]+)", interval)[0]] == [
        *(at(-10.7), at(14.7))
    ]
    assert across.low < -10.7
    assert across.high > 14.7


@pytest.mark.parametrize(("least", "most"), [(0.0, None), (None, 4.0)])
def test_an_open_margin_reaches_the_edge(least: float | None, most: float | None) -> None:
    held = HELD._replace(least=least, most=most, low=None, high=None, paper=None)
    svg = charts.claim_chart("told", held, "nats").svg
    (band,) = placed(svg, "band")
    left, right = float(band["x"]), float(band["x"]) + float(band["width"])
    assert (left == charts.LEFT + 8) == (least is None)
    assert (right == charts.WIDTH - charts.RIGHT) == (most is None)
    assert right > left
    assert placed(svg, "mark") == []  # the paper claims an order
    assert not any("H" in path["d"] for path in placed(svg, "s"))  # one seed has no interval


def test_what_is_not_compared_has_no_margin() -> None:
    held = HELD._replace(least=None, most=None, paper=None)
    svg = charts.claim_chart("told", held, "nats").svg
    assert placed(svg, "band") == placed(svg, "mark") == []


@pytest.mark.parametrize("value", [0.0, 8.0, -3e-12])
def test_a_claim_of_one_value_has_a_place(value: float) -> None:
    held = charts.Held([("seed 0", value)], value, None, None, value, None, value)
    (dot,) = placed(charts.claim_chart("told", held, "nats").svg, "f")
    assert charts.LEFT + 8 < float(dot["cx"]) < charts.WIDTH - charts.RIGHT


@pytest.mark.parametrize("name", ["</svg><script>alert(1)</script>", '"><b>', "a&b"])
def test_names_stay_text(name: str) -> None:
    drawn = [
        charts.line_chart(name, [Line(name, [(0.0, 1.0), (1.0, 2.0)], 0)], name, name),
        charts.scatter_chart(name, [Dot(name, name, 1.0), Dot("o", "o", None)], name, name),
        charts.interval_chart(name, [Row(name, 1.0, 0.5, 1.5, [1.0])], name),
        charts.claim_chart(name, HELD._replace(values=[(name, 1.0)]), name),
    ]
    for each in drawn:
        tree = ElementTree.fromstring(each.svg)
        assert tree.attrib["aria-label"] == name
        assert {e.tag for e in tree.iter()} <= {
            *("svg", "g", "path", "text", "circle", "title", "clipPath", "rect")
        }
