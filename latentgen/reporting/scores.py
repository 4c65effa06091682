"""Scores over seeds: mean, standard deviation, interval; ranking of settings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from latentgen.core.errors import BadInput, nearest
from latentgen.metrics.intervals import Spread, spread
from latentgen.reporting.folders import Member, number, section

# Default metrics for ranking: quality of samples first, then bounds of log p(x), then validation
# metrics. Losses of players in a game come last, as they do not measure the quality of samples.
PREFERRED = (
    *("frechet/frechet_distance", "frechet/frechet", "kernel/kernel_distance"),
    *("evaluation/frechet_distance", "evaluation/kernel_distance"),
    *("is/log_likelihood", "is/bernoulli_score", "validation/negative_elbo", "validation/loss"),
)
# Names, or ends of names, of metrics for which higher is better.
HIGHER = {
    *("accuracy", "captured", "coverage", "density", "elbo", "inception_score", "likelihood"),
    *("log_likelihood", "log_px", "precision", "quality", "recall", "score", "bound"),
}
GAME = ("cost", "discriminator_value", "generator_loss", "encoder_loss", "d_real", "d_synthetic")


class Setting(NamedTuple):
    """Members that differ only in their seed, and the score of those that are done."""

    name: str
    changes: dict[str, Any]
    members: list[Member]
    score: Spread | None

    def count(self, *statuses: str) -> int:
        """Return the number of members with one of these statuses."""
        return sum(member.status in statuses for member in self.members)


def score(member: Member, metric: str) -> float | None:
    """Return the member's value of a metric, if the member is done and the value is finite."""
    value = member.final.get(metric)
    finite = value is not None and math.isfinite(value)
    return value if finite and member.status == "done" else None


def ranked(members: Sequence[Member], metric: str | None, lower: bool) -> list[Setting]:
    """Sort settings by mean, the best first; those without a score come last, in order."""
    groups: dict[str, list[Member]] = {}
    for member in members:
        groups.setdefault(member.setting, []).append(member)
    settings = []
    for name, group in groups.items():
        values = [score(member, metric) for member in group] if metric else []
        finite = [value for value in values if value is not None]
        found = spread(finite) if finite else None
        settings.append(Setting(name, group[0].changes, group, found))

    def order(setting: Setting) -> tuple[bool, float]:
        mean = setting.score.mean if setting.score else 0.0
        return setting.score is None, mean if lower else -mean

    return sorted(settings, key=order)


def best(settings: Sequence[Setting], metric: str | None, lower: bool) -> list[Member]:
    """Sort finished runs: the best run of each setting first, then the second best, ...

    Args:
        settings: settings in ranked order.
    """
    rows = []
    for i, setting in enumerate(settings):
        found = [(score(m, metric) if metric else None, m) for m in setting.members]
        done = [(value, member) for value, member in found if member.status == "done"]
        worst = math.inf if lower else -math.inf
        done.sort(key=lambda each: worst if each[0] is None else each[0], reverse=not lower)
        rows += [(rank, i, member) for rank, (_, member) in enumerate(done)]
    return [member for _, _, member in sorted(rows, key=lambda row: row[:2])]


def choose_metric(members: Sequence[Member], asked: str | None) -> str | None:
    """Return the metric to rank by: the one asked for, else a default; None if there is none.

    The default is a metric that all finished runs have, if there is one, so that the evaluation of
    a single run does not remove the others from the ranking.

    Raises:
        BadInput: no run has the metric that was asked for.
    """
    known = sorted({name for member in members for name in member.final})
    if asked is not None:
        if asked not in known:
            valid = ", ".join(known) or "none yet"
            raise BadInput(f"--metric={asked!r} is no run's{nearest(asked, known)} Valid: {valid}.")
        return asked
    done = [member.final for member in members if member.status == "done"]
    known = [name for name in known if all(name in final for final in done)] or known
    validated = [name for name in known if name.startswith("validation/")]
    serious = [name for name in validated if name.partition("/")[2] not in GAME]
    for name in (*PREFERRED, *serious, *validated, *known):
        if name in known:
            return name
    return None


def lower_is_better(metric: str) -> bool:
    """Return whether a lower value of the metric is better, judging by its name."""
    term = metric.rpartition("/")[2]
    if term.startswith("negative_"):
        return True
    return not any(term == word or term.endswith(f"_{word}") for word in HIGHER)


def is_a_players_loss(metric: str | None) -> bool:
    """Return whether the metric is a player's loss, which says little about quality."""
    return metric is not None and metric.rpartition("/")[2] in GAME


def stale(settings: Sequence[Setting], metric: str | None, summary: Mapping[str, Any]) -> list[str]:
    """Return settings whose score in summary.json differs from that of their runs."""
    listed = summary.get("settings")
    each_written = map(section, listed if isinstance(listed, list) else ())
    written = {str(each.get("setting")): section(each.get("metrics")) for each in each_written}
    wrong = []
    for setting in settings:
        entry = section(written.get(setting.name, {}).get(metric or ""))
        if not entry or setting.score is None:
            continue
        same_n, mean = entry.get("n") == setting.score.n, number(entry.get("mean")) or 0.0
        if not (same_n and math.isclose(mean, setting.score.mean, rel_tol=1e-6)):
            wrong.append(setting.name)
    return wrong
