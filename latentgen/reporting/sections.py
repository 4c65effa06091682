"""Sections of a page as plain data: charts with their tables, and notes on omitted data."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from latentgen.reporting import charts, folders, images, scores
from latentgen.reporting.charts import COLOURS, GREY, Dot, Line, Row
from latentgen.reporting.folders import Folder, Member
from latentgen.reporting.scores import Setting
from latentgen.storage.workdir import flatten
from latentgen.training.best import SPLIT

POINTS = 90_000
"""Maximum number of points in all curves of a page."""
MOST_POINTS, LEAST_POINTS = 300, 12  # of a curve
MOST_LINES = 120  # members in a chart
MOST_ROWS = {False: 25, True: 12}  # of the table behind a chart, of a run and of a sweep
MOST_COLUMNS = 12
MOST_INTERVALS = 30
FAILED = ("failed", "timed_out", "preempted")

# Term -> player; for others, the first part of the name decides.
PLAYERS = {
    "cost": "Discriminator",
    "d_real": "Discriminator",
    "d_synthetic": "Discriminator",
    "real_logit": "Discriminator",
    "synthetic_logit": "Discriminator",
    "penalty": "Discriminator",
    "rate": "Encoder and decoder",
    "distortion": "Encoder and decoder",
    "feature_error": "Encoder and decoder",
    "loss": "Encoder and decoder",
    "negative_elbo": "Encoder and decoder",
    "negative_bound": "Encoder and decoder",
    "cross_entropy": "Classifier",
    "accuracy": "Classifier",
}


class Chart(NamedTuple):
    """A chart, the note below it, and the table of its values."""

    title: str
    svg: str
    note: str
    header: list[str]
    rows: list[list[str]]
    said: str  # note on omitted rows and columns


class Group(NamedTuple):
    """Charts of one player's terms."""

    name: str
    charts: list[Chart]


def shown(value: Any) -> str:
    """Format a value: numbers with four digits, a mean with its error, others as JSON."""
    if value is None:
        return "\u2013"
    if isinstance(value, Mapping) and {"mean", "standard_error"} <= value.keys():
        return f"{shown(value['mean'])} \u00b1 {shown(value['standard_error'])}"
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return json.dumps(value)
    if not math.isfinite(value):
        return str(value)
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e6):
        return f"{int(value):,}".replace("-", "\u2212")
    size = abs(value)
    text = f"{value:.3e}" if size >= 1e6 or size < 1e-3 else f"{value:,.{digits(size)}f}"
    return text.replace("-", "\u2212")


def plain(value: Any) -> str:
    """Format a value of a config as it is written: 0.0002, relu, [64, 128]."""
    if isinstance(value, str):
        return value
    return "\u2013" if value is None else json.dumps(value)


def counted(number: int, word: str) -> str:
    """Format a count: '1 run', '2 runs'."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def digits(size: float) -> int:
    """Return the number of decimals for four significant digits."""
    return max(0, 3 - math.floor(math.log10(size)))


def player(term: str) -> str:
    """Return the player of a term."""
    first = term.partition("_")[0]
    if term in PLAYERS:
        return PLAYERS[term]
    return first.capitalize() if first in ("discriminator", "generator", "encoder") else "Other"


def terms(members: Sequence[Member]) -> dict[str, list[str]]:
    """Return term -> splits for which it was logged, training first."""
    found: dict[str, set[str]] = {}
    for member in members:
        for line in member.lines:
            for name in line.keys() - {"step", "seconds", "split"}:
                found.setdefault(name, set()).add(str(line["split"]))
    order = lambda split: (split != "train", split)  # noqa: E731
    return {term: sorted(found[term], key=order) for term in sorted(found)}


def line_styles(settings: Sequence[Setting]) -> dict[str, int]:
    """Return setting -> index of its colour; the best settings have colours, others are grey."""
    return {s.name: i if i < COLOURS else GREY for i, s in enumerate(settings)}


def points_each(members: int, number: int) -> int:
    """Return the maximum points of a curve for `number` charts of `members` curves."""
    return min(max(POINTS // max(members * number, 1), LEAST_POINTS), MOST_POINTS)


def curves(folder: Folder, settings: Sequence[Setting]) -> tuple[list[Group], list[str]]:
    """Make charts of all terms by player, and notes on omitted data."""
    known = terms(folder.members)
    chosen = _members_shown(settings)
    number = sum(len(splits) for splits in known.values())
    most = points_each(len(chosen), number)
    groups: dict[str, list[Chart]] = {}
    for term, splits in known.items():
        name = "Evaluation" if splits == [SPLIT] else player(term)
        group = groups.setdefault(name, [])
        if folder.is_sweep:
            group += [_of_sweep(settings, chosen, split, term, most) for split in splits]
        else:
            group.append(_of_run(folder.members[0], splits, term, most))
    notes = []
    if len(chosen) < len(folder.members):
        notes.append(f"{len(chosen)} of {len(folder.members)} runs are drawn, the best first.")
    longest = max((len(member.lines) for member in folder.members), default=0)
    if longest > most:
        notes.append(f"Curves are thinned to at most {most} points each.")
    order = (
        "Evaluation",
        "Discriminator",
        "Generator",
        "Encoder and decoder",
        "Encoder",
        "Classifier",
        "Other",
    )
    names = sorted(groups, key=lambda name: order.index(name) if name in order else len(order))
    return [Group(name, groups[name]) for name in names], notes


def _members_shown(settings: Sequence[Setting]) -> list[Member]:
    return [member for setting in settings for member in setting.members][:MOST_LINES]


def _cut(drawn: charts.Drawn) -> str:
    return "Values far out are cut off; the table has them." if drawn.cut else ""


def _of_run(member: Member, splits: Sequence[str], term: str, most: int) -> Chart:
    found = {split: folders.curve(member, split, term) for split in splits}
    lines = [
        Line(split, charts.thinned(points, most), i)
        for i, (split, points) in enumerate(found.items())
    ]
    description = f"{term} over {member.step} steps, " + "; ".join(
        f"{split} from {shown(points[0][1])} to {shown(points[-1][1])}"
        for split, points in found.items()
        if points
    )
    drawn = charts.line_chart(description, lines, f"c-{term}")
    steps = sorted({step for points in found.values() for step, _ in points})
    kept = images.thin(steps, MOST_ROWS[False])
    values = {split: dict(points) for split, points in found.items()}
    rows = [[shown(step), *(shown(values[split].get(step)) for split in splits)] for step in kept]
    notes = f"{len(kept)} of {len(steps)} steps." if len(kept) < len(steps) else ""
    return Chart(term, drawn.svg, _cut(drawn), ["step", *splits], rows, notes)


def mean_curve(members: Sequence[Member], split: str, term: str) -> list[tuple[float, float]]:
    """Compute the mean over members that have not diverged, at steps that all of them logged."""
    found = [
        dict(folders.curve(member, split, term))
        for member in members
        if member.status != "diverged"
    ]
    found = [points for points in found if points]
    if not found:
        return []
    steps = sorted(set.intersection(*(set(points) for points in found)))
    return [(step, sum(points[step] for points in found) / len(found)) for step in steps]


def _of_sweep(
    settings: Sequence[Setting], chosen: Sequence[Member], split: str, term: str, most: int
) -> Chart:
    colours = line_styles(settings)
    lines = []
    for member in chosen:
        points = charts.thinned(folders.curve(member, split, term), most)
        lines.append(Line(member.name, points, colours[member.setting], thin=True))
    means = {s.name: mean_curve(s.members, split, term) for s in settings}
    for name, found in means.items():
        if found and colours[name] != GREY:
            lines.append(Line(name, charts.thinned(found, most), colours[name]))
    description = (
        f"{split} {term} of {len(chosen)} runs; thick lines are means of settings. "
        + "; ".join(
            f"{name} ends at {shown(points[-1][1])}"
            for name, points in list(means.items())[:COLOURS]
            if points
        )
    )
    drawn = charts.line_chart(description, lines, f"c-{split}-{term}")
    best = [setting.name for setting in settings[:MOST_COLUMNS]]
    steps = sorted({step for name in best for step, _ in means[name]})
    kept = images.thin(steps, MOST_ROWS[True])
    values = {name: dict(means[name]) for name in best}
    rows = [[shown(step), *(shown(values[name].get(step)) for name in best)] for step in kept]
    notes = "Means of settings."
    if len(kept) < len(steps):
        notes += f" {len(kept)} of {len(steps)} steps."
    if len(best) < len(settings):
        notes += f" The best {len(best)} of {len(settings)} settings."
    return Chart(f"{term}, {split}", drawn.svg, _cut(drawn), ["step", *best], rows, notes)


def hyperparameters(folder: Folder, settings: Sequence[Setting], metric: str) -> list[Chart]:
    """Make a chart of the score against each varied key."""
    base = flatten(folder.config)
    return [_hyperparameter(key, base.get(key), settings, metric) for key in folder.varied]


def _hyperparameter(key: str, base: Any, settings: Sequence[Setting], metric: str) -> Chart:
    colours = line_styles(settings)
    dots, rows = [], []
    for setting in settings:
        for member in setting.members:
            x, y = member.changes.get(key, base), scores.score(member, metric)
            text = f"{member.name}: {key} = {plain(x)}, {metric} = {shown(y)}"
            dots.append(Dot(text, _place(x), y, colours[setting.name]))
            rows.append([member.name, plain(x), shown(y), member.status])
    if any(isinstance(dot.x, str) for dot in dots):
        dots = [dot._replace(x=plain(dot.x)) for dot in dots]
    lost = sum(dot.y is None for dot in dots)
    description = (
        f"{key} against {metric}, {counted(len(dots), 'run')}, {lost} of them without a score"
    )
    drawn = charts.scatter_chart(description, dots, key, f"h-{key}")
    crosses = f"{counted(lost, 'run')} without a score: crosses at the lower edge." if lost else ""
    note = " ".join(filter(None, (crosses, _cut(drawn))))
    notes = f"{MAX_LISTED} of {len(rows)} runs." if len(rows) > MAX_LISTED else ""
    return Chart(key, drawn.svg, note, ["run", key, metric, "status"], rows[:MAX_LISTED], notes)


def _place(value: Any) -> float | str:
    """Return a hyperparameter's coordinate: a number, or the name of any other value."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return plain(value)


MAX_LISTED = 200
"""Maximum number of runs in a table."""


def intervals(settings: Sequence[Setting], metric: str) -> Chart | None:
    """Make a chart of runs, means and intervals of the best settings."""
    scored = [setting for setting in settings if setting.score is not None]
    if not scored:
        return None
    colours = line_styles(settings)
    rows = []
    for setting in scored[:MOST_INTERVALS]:
        values = [scores.score(member, metric) for member in setting.members]
        figures = setting.score
        assert figures is not None
        kept = [value for value in values if value is not None]
        rows.append(
            Row(setting.name, figures.mean, figures.low, figures.high, kept, colours[setting.name])
        )
    description = f"{metric} of {len(rows)} settings, the best first: {rows[0].name}"
    some = len(rows) < len(scored)
    notes = f"The best {len(rows)} of {len(scored)} settings." if some else ""
    drawn = charts.interval_chart(description, rows, metric)
    return Chart(metric, drawn.svg, notes, [], [], "")


class Evaluation(NamedTuple):
    """Results with the same protocol; `alone` if the metric has no other protocol."""

    metric: str
    how: str
    header: list[str]
    rows: list[list[str]]
    alone: bool
    said: str


def evaluations(members: Sequence[Member]) -> list[Evaluation]:
    """Group results of `latentgen.evaluate` by protocol; take the newest of each run."""
    groups: dict[tuple[str, str], list[tuple[Member, dict[str, Any]]]] = {}
    for member in members:
        newest = {(str(e.get("metric")), _how(e)): e for e in member.evaluations}
        for key, line in newest.items():
            groups.setdefault(key, []).append((member, line))
    metrics = [metric for metric, _ in groups]
    return [
        _evaluation(metric, how, groups[metric, how], metrics.count(metric) == 1)
        for metric, how in sorted(groups)
    ]


def _how(line: Mapping[str, Any]) -> str:
    """Describe a result's protocol, in which comparable results agree."""
    data = folders.section(line.get("data"))
    how = {"split": line.get("split"), **folders.section(line.get("protocol"))}
    how |= {"data": f"{data.get('name')} {data.get('sha256')}"} if data else {}
    return ", ".join(f"{key.replace('_', ' ')}: {plain(value)}" for key, value in how.items())


def _evaluation(
    metric: str, how: str, found: Sequence[tuple[Member, dict[str, Any]]], alone: bool
) -> Evaluation:
    values = [(member, line, folders.section(line.get("values"))) for member, line in found]
    names = list(dict.fromkeys(name for _, _, each in values for name in each))
    rows = [
        [member.name, shown(line.get("step")), *(shown(each.get(name)) for name in names)]
        for member, line, each in values
    ]
    notes = f"{MAX_LISTED} of {len(rows)} runs." if len(rows) > MAX_LISTED else ""
    return Evaluation(metric, how, ["run", "step", *names], rows[:MAX_LISTED], alone, notes)


def curve_data(folder: Folder, settings: Sequence[Setting]) -> dict[str, Any]:
    """Return the terms' curves: {term: {split: {run: [steps, values]}}}, five digits each."""
    known, chosen = terms(folder.members), _members_shown(settings)
    most = points_each(len(chosen), sum(len(splits) for splits in known.values()))
    data: dict[str, Any] = {}
    for term, splits in known.items():
        for split in splits:
            runs = {}
            for member in chosen:
                points = charts.thinned(folders.curve(member, split, term), most)
                runs[member.name] = [
                    [int(step) for step, _ in points],
                    [float(f"{value:.5g}") for _, value in points],
                ]
            data.setdefault(term, {})[split] = runs
    return data
