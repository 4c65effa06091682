"""The page of a run or a sweep: plain data, a template, and a maximum size."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import jinja2

from latentgen.reporting import charts, images, opened, scores, sections
from latentgen.reporting.folders import KINDS, Folder, Member, section
from latentgen.reporting.images import Selection, Series, Shown
from latentgen.reporting.neighbours import Neighbours
from latentgen.reporting.opened import Opened
from latentgen.reporting.scores import Setting
from latentgen.reporting.sections import MAX_LISTED, counted, plain, shown
from latentgen.storage.workdir import flatten, json_safe
from latentgen.training.pictures import Image

LIMIT, LIMIT_EACH, LIMIT_ALL = 2_000_000, 300_000, 5_000_000
"""Maximum bytes of the page of a run, more for each further run of a sweep, and of any page."""
TARGET = {False: 470, True: 240}  # pixels: maximum width of an enlarged picture
WIDE = 720
MOST_METRICS = 12  # columns of the table of all runs
MOST_EVALUATION_PICTURES = 6
HERE = Path(__file__).parent

CONTENTS = (
    ("settings", "Settings", True),
    ("hyperparameters", "Hyperparameters", True),
    ("failures", "Failures", True),
    ("pictures-of-steps", "Pictures", None),
    ("curves", "Curves", None),
    ("traversals", "Traversals", None),
    ("neighbours", "Neighbours", None),
    ("field", "Field", None),
    ("evaluations", "Evaluations", None),
    ("config", "Config", None),
    ("runs", "Runs", True),
    ("provenance", "Provenance", None),
)
NO_PICTURES = Selection([], 0, 0, 0, None)


def page(
    folder: Folder,
    looked_at: Sequence[Opened],
    metric: str | None,
    lower: bool,
    chosen: bool,
    command: str,
    limit: int | None = None,
) -> str:
    """Render the page.

    Args:
        looked_at: runs whose checkpoints were opened.
        metric, lower: metric that ranks settings, and whether lower is better.
        chosen: whether the user named the metric.
        command: the command that writes the page.
        limit: maximum bytes; None: `most_bytes`. Pictures get what the rest leaves.
    """
    settings = scores.ranked(folder.members, metric, lower)
    context = _context(folder, settings, looked_at, metric, lower, chosen, command)
    bare = render(context | _pictures(folder, NO_PICTURES))
    budget = (limit or most_bytes(len(folder.members))) - len(bare.encode())
    series = _series(settings)
    # Names, captions and markup of a picture need characters besides its URI.
    selection = images.select(series, max(int(0.97 * budget) - 600 * len(series), 0))
    return render(context | _pictures(folder, selection))


def most_bytes(runs: int) -> int:
    """Return the maximum bytes of the page of this many runs."""
    return min(LIMIT + LIMIT_EACH * max(runs - 1, 0), LIMIT_ALL)


def render(context: Mapping[str, Any], template: str = "page.html") -> str:
    """Render the template, with all values escaped."""
    style, script = ((HERE / name).read_text() for name in ("style.css", "script.js"))
    loader = jinja2.FileSystemLoader(HERE)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    hashes = {"style_hash": _hash(style), "script_hash": _hash(script)}
    return environment.get_template(template).render(
        **context, **hashes, style=style, script=script
    )


def _hash(text: str) -> str:
    """Return the hash by which a content security policy allows an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _context(
    folder: Folder,
    settings: Sequence[Setting],
    looked_at: Sequence[Opened],
    metric: str | None,
    lower: bool,
    chosen: bool,
    command: str,
) -> dict[str, Any]:
    direction = "lower is better" if lower else "higher is better"
    groups, curves_said = sections.curves(folder, settings)
    contents = [(i, name) for i, name, only in CONTENTS if only is None or only == folder.is_sweep]
    context = {
        "is_sweep": folder.is_sweep,
        "title": folder.path.absolute().name or "run",
        "lead": _lead(folder),
        "contents": contents,
        "facts": _facts(folder),
        "trouble": _trouble(folder),
        "metric": metric,
        "direction": direction,
        "curves": groups,
        "curves_said": curves_said,
        "curves_note": _curves_note(folder),
        "legend": _legend(folder, settings),
        "evaluations": sections.evaluations(folder.members),
        "evaluation_pictures": _evaluation_pictures(folder),
        "config": _config(folder.config),
        "provenance": _provenance(folder, command),
        "data": json_safe(_data(folder, settings, metric)),
    }
    if folder.is_sweep:
        context |= _of_sweep(folder, settings, metric, direction, chosen)
    return context | _opened(folder, looked_at)


def _lead(folder: Folder) -> str:
    method = section(folder.config.get("method")).get("name", "method unknown")
    data = section(folder.config.get("data")).get("name", "data unknown")
    what = f"{str(method).upper()} on {data}"
    if folder.is_sweep:
        keys = ", ".join(folder.varied) or "nothing but the seed"
        return f"A sweep of {what}; varied: {keys}."
    member = folder.members[0]
    why = f": {member.reason}" if member.reason else ""
    return f"A run of {what}, {member.status}{why}."


def _facts(folder: Folder) -> list[tuple[str, str]]:
    if folder.is_sweep:
        counts = {s: sum(m.status == s for m in folder.members) for s in _statuses(folder)}
        settings = len({member.setting for member in folder.members})
        seconds = sum(member.seconds for member in folder.members)
        return [
            ("runs", shown(len(folder.members))),
            ("settings", shown(settings)),
            *((status, shown(count)) for status, count in counts.items()),
            ("training, all runs", f"{seconds:,.0f} s"),
        ]
    member = folder.members[0]
    data = section(member.summary.get("data"))
    splits = ", ".join(f"{shown(n)} {name}" for name, n in section(data.get("splits")).items())
    facts = [
        ("status", member.status),
        ("steps", f"{shown(member.step)} of {shown(folder.config.get('steps'))}"),
        ("seed", shown(member.seed)),
        ("training", f"{member.seconds:,.0f} s"),
    ]
    facts += [("data", splits)] if splits else []
    values = member.summary.get("state_values")
    return facts + ([("values in the state", shown(values))] if values else [])


def _statuses(folder: Folder) -> list[str]:
    """Return done, diverged and failed, and all other statuses that occur."""
    known = ("done", "diverged", "failed")
    others = {member.status for member in folder.members} - set(known)
    return [*known, *sorted(others)]


def _trouble(folder: Folder) -> list[str]:
    lines = list(folder.notes)
    for member in folder.members:
        if member.collapsed is not None:
            lines.append(
                f"{member.name} collapsed at step {shown(member.collapsed)}: all samples are alike."
            )
        if member.skipped:
            steps = ", ".join(shown(step) for step in member.skipped)
            lines.append(f"{member.name} left out where it diverged: step {steps}.")
    return lines if len(lines) <= 20 else [*lines[:20], f"And {len(lines) - 20} more such notes."]


def _curves_note(folder: Folder) -> str:
    units = "Losses are in nats, as logged; d_real and d_synthetic are probabilities."
    if not folder.is_sweep:
        return units
    return (
        f"{units} Thin lines are runs, thick ones the mean of a setting over its runs that have "
        "not diverged. The best settings have colours and dashes, all others are grey."
    )


def _legend(folder: Folder, settings: Sequence[Setting]) -> list[tuple[str, str]]:
    if not folder.is_sweep:
        splits = {split for each in sections.terms(folder.members).values() for split in each}
        ordered = sorted(splits, key=lambda split: (split != "train", split))
        return [(charts.swatch(i), split) for i, split in enumerate(ordered)]
    colours = sections.line_styles(settings)
    some = [(charts.swatch(colours[s.name]), s.name) for s in settings[: charts.COLOURS]]
    rest = len(settings) - len(some)
    return some + ([(charts.swatch(charts.GREY), f"{rest} other settings")] if rest else [])


def _of_sweep(
    folder: Folder, settings: Sequence[Setting], metric: str | None, direction: str, chosen: bool
) -> dict[str, Any]:
    failures = [
        [m.name, m.status, shown(m.step), shown(m.attempts), shown(m.reason)]
        for m in folder.members
        if m.status != "done"
    ]
    some = len(failures) > MAX_LISTED
    varied = [
        [key, plain(flatten(folder.config).get(key)), _values(folder.members, key)]
        for key in folder.varied
    ]
    spec = folder.origin.get("spec")
    return {
        "by_default": metric is not None and not chosen,
        "ranked_by": _ranked_by(metric, direction, chosen),
        "settings": _settings(folder, settings),
        "settings_notes": _settings_notes(folder, settings, metric),
        "intervals": sections.intervals(settings, metric) if metric else None,
        "hyperparameters": sections.hyperparameters(folder, settings, metric) if metric else [],
        "failures": failures[:MAX_LISTED],
        "failures_said": f"{MAX_LISTED} of {len(failures)} such runs." if some else "",
        "facts_runs": counted(len(folder.members), "run"),
        "varied": varied,
        "spec": plain(spec) if spec else "",
        "runs": _runs(settings, metric),
    }


def _values(members: Sequence[Member], key: str) -> str:
    values = {plain(m.changes[key]): m.changes[key] for m in members if key in m.changes}
    numbers = all(isinstance(v, int | float) for v in values.values())
    ordered = sorted(values, key=lambda text: values[text]) if numbers else list(values)
    if len(ordered) > 24:
        return f"{len(ordered)} values from {ordered[0]} to {ordered[-1]}"
    return ", ".join(ordered)


def _ranked_by(metric: str | None, direction: str, chosen: bool) -> str:
    if metric is None:
        return "No run has logged a value yet, so that settings cannot be ranked."
    why = "" if chosen else ", chosen by default"
    return (
        f"Ranked by the mean over seeds of {metric}{why}; {direction}. Means, standard deviations "
        "and 95\u00a0% intervals (Student's t) are of runs that are done."
    )


def _settings(folder: Folder, settings: Sequence[Setting]) -> dict[str, Any]:
    colours = sections.line_styles(settings)
    keys = folder.varied if len(folder.varied) <= 6 else []
    others = [s for s in _statuses(folder) if s not in ("done", "diverged", "failed")]
    rows = []
    for setting in settings[:MAX_LISTED]:
        figures = setting.score
        if figures is None:
            cells = ["\u2013"] * 4
        else:
            known = figures.low is not None and figures.high is not None
            interval = f"{shown(figures.low)} to {shown(figures.high)}" if known else "\u2013"
            cells = [shown(figures.mean), shown(figures.sd), interval, shown(figures.median)]
        counts = [str(setting.count(s)) for s in ("done", "diverged", "failed", *others)]
        mark = charts.swatch(colours[setting.name])
        values = [plain(setting.changes.get(key)) for key in keys]
        rows.append({"name": setting.name, "swatch": mark, "cells": cells + counts + values})
    counted_by = ["done", "diverged", "failed", *others]
    header = ["mean", "SD", "95\u00a0% interval", "median", *counted_by, *keys]
    return {"header": header, "rows": rows}


def _settings_notes(folder: Folder, settings: Sequence[Setting], metric: str | None) -> list[str]:
    lines = []
    if scores.is_a_players_loss(metric):
        lines.append(
            f"{metric} is part of a game: it says how the players stand, not how good the "
            "pictures are. Evaluate the runs (frechet) and rank by that."
        )
    lost = sum(bool(s.count("diverged", *sections.FAILED)) for s in settings)
    if lost:
        lines.append(
            f"In {lost} of {len(settings)} settings runs diverged or failed: means leave these "
            "out, and intervals do not hold there."
        )
    if any(s.score is not None and s.score.n == 1 for s in settings):
        lines.append("One run alone has no interval.")
    if len(settings) > MAX_LISTED:
        lines.append(f"{MAX_LISTED} of {len(settings)} settings are listed.")
    if stale := scores.stale(settings, metric, folder.summary):
        lines.append(
            f"summary.json says otherwise of {', '.join(stale[:5])}: it is older than the runs."
        )
    return lines


def _runs(settings: Sequence[Setting], metric: str | None) -> dict[str, Any]:
    members = [member for setting in settings for member in setting.members]
    names = sorted({name for m in members for name in m.final if not name.startswith("train/")})
    first = [metric] if metric in names else []
    kept = [*first, *(name for name in names if name != metric)][:MOST_METRICS]
    rows = [
        [
            *(m.name, m.status, shown(m.seed), shown(m.step), f"{m.seconds:,.0f}"),
            *(shown(m.final.get(name)) for name in kept if name),
        ]
        for m in members[:MAX_LISTED]
    ]
    notes = []
    if len(members) > MAX_LISTED:
        notes.append(f"{MAX_LISTED} of {len(members)} runs are listed, the best first.")
    if len(kept) < len(names):
        notes.append(f"{len(kept)} of {len(names)} metrics are listed.")
    return {
        "header": ["run", "status", "seed", "step", "seconds", *kept],
        "rows": rows,
        "said": notes,
    }


def _config(config: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Make a table for each section of the config, top-level keys first."""
    alone = [(key, plain(v)) for key, v in config.items() if not isinstance(v, Mapping)]
    tables = [("run", alone)] if alone else []
    for name, part in config.items():
        if isinstance(part, Mapping):
            rows = [(key, plain(value)) for key, value in flatten(part).items()]
            tables.append((name, rows))
    return tables


def _provenance(folder: Folder, command: str) -> list[tuple[str, str]]:
    origin = folder.origin
    found = [(key, origin.get(key)) for key in ("command", "commit", "versions")]
    summaries = [member.summary for member in folder.members if member.summary]
    for key in ("device", "data"):
        different = {shown(_joined(s[key])) for s in summaries if s.get(key)}
        found.append((key, "; ".join(sorted(different)) or None))
    if not folder.is_sweep:
        found.append(("config", folder.origin.get("config_sha256")))
    lines = [(key, _joined(value)) for key, value in found if value]
    if not any(key == "command" for key, _ in lines):
        lines.insert(0, ("command", "not known before the run has ended"))
    return [*lines, ("this page", command)]


def _joined(value: Any) -> str:
    if isinstance(value, Mapping):
        some = {k: v for k, v in flatten(value).items() if v not in ("", None)}
        return ", ".join(f"{key} {v}" for key, v in some.items())
    return str(value)


def _data(folder: Folder, settings: Sequence[Setting], metric: str | None) -> dict[str, Any]:
    return {
        "config": folder.config,
        "metric": metric,
        "settings": [
            {"setting": s.name, "changes": s.changes, "score": s.score and s.score._asdict()}
            for s in settings
        ],
        "runs": [
            {
                **{"run": m.name, "setting": m.setting, "seed": m.seed, "status": m.status},
                **{"reason": m.reason, "step": m.step, "seconds": m.seconds, "final": m.final},
            }
            for m in folder.members
        ],
        "curves": sections.curve_data(folder, settings),
    }


def _evaluation_pictures(folder: Folder) -> list[dict[str, Any]]:
    if folder.is_sweep:
        return []
    found = []
    for file in sorted((folder.path / "evaluations").glob("*.png"))[-MOST_EVALUATION_PICTURES:]:
        try:
            image = images.read(file)
        except OSError:
            continue
        found.append(_placed(image, f"Picture of the evaluation {file.stem}", file.stem))
    return found


def _placed(
    image: Image,
    alt: str,
    caption: str,
    target: int = TARGET[False],
    quality: int | None = None,
) -> dict[str, Any]:
    factor = max(1, target // image.shape[1])
    return {
        "uri": images.data_uri(image, quality),
        "width": image.shape[1] * factor,
        "height": image.shape[0] * factor,
        "smooth": image.shape[1] > target,
        "alt": alt,
        "caption": caption,
    }


def _opened(folder: Folder, looked_at: Sequence[Opened]) -> dict[str, Any]:
    """Make the sections of opened checkpoints, with the reason for each missing one."""
    found: dict[str, list[Any]] = {"traversals": [], "neighbours": [], "fields": []}
    missing: dict[str, list[tuple[str, str]]] = {name: [] for name in found}
    for each in looked_at:
        label = f"{each.name}, step {shown(each.step)}"
        for name, part in zip(found, (each.traversal, each.neighbours, each.field), strict=True):
            if isinstance(part, str):
                missing[name].append((each.name, part))
            elif isinstance(part, opened.Traversal):
                found[name].append(_traversal(part, label))
            elif isinstance(part, Neighbours):
                found[name].append(_neighbours(part, label))
            else:
                found[name].append(_field(part, label))
    lines = {name: _said_once(each, folder.is_sweep) for name, each in missing.items()}
    if not looked_at:
        why = "No run is done." if folder.is_sweep else "The run was not opened (--best=0)."
        lines = {name: [why] for name in found}
    elif folder.is_sweep and len(looked_at) < len(folder.members):
        note = f"Of the best {len(looked_at)} of {len(folder.members)} runs only (--best)."
        lines = {name: [*each, note] for name, each in lines.items()}
    return {**found, **{f"{name}_missing": each for name, each in lines.items()}}


def _said_once(missing: Sequence[tuple[str, str]], named: bool) -> list[str]:
    """Make a line for each reason, with its runs."""
    reasons: dict[str, list[str]] = {}
    for name, why in missing:
        reasons.setdefault(why, []).append(name)
    return [f"{', '.join(names)}: {why}" if named else why for why, names in reasons.items()]


def _traversal(part: opened.Traversal, label: str) -> dict[str, Any]:
    some = f"{part.rows} of {part.coordinates} coordinates"
    alt = f"Traversal of {some}: a row each, moved from left to right"
    caption = f"{label}: {some}"
    if part.classes:
        caption += f"; rows are of the classes {', '.join(part.classes)}"
    caption += _reduction(part.reduced)
    return _placed(part.picture, alt, caption, WIDE, _quality(part.reduced))


def _neighbours(part: Neighbours, label: str) -> dict[str, Any]:
    caption = f"{label}: median distance to the nearest {part.median:.3f}"
    if part.held_out is not None:
        caption += f"; of {part.split} images {part.held_out:.3f}"
    over = "pixels" if part.features == "pixels" else f"features of the {part.features} classifier"
    caption += f" (root mean square over {over}, {shown(part.searched)}"
    caption += (
        " training images)" if part.searched == part.of else f" of {shown(part.of)} searched)"
    )
    alt = f"{len(part.distances)} samples, below each its nearest training images"
    caption += _reduction(part.reduced)
    names = [f"{i}" for i in range(1, len(part.distances) + 1)]
    if part.classes:
        names = [f"{i} ({each})" for i, each in zip(names, part.classes, strict=True)]
    distances = [[f"{d:.3f}" for d in row] for row in part.distances]
    rows = [[sample, *row] for sample, row in zip(names, distances, strict=True)]
    quality = _quality(part.reduced)
    return {**_placed(part.picture, alt, caption, WIDE, quality), "rows": rows, "over": over}


def _reduction(factor: int) -> str:
    return f"; images are reduced to 1/{factor} of their side" if factor > 1 else ""


def _quality(factor: int) -> int | None:
    """Return the quality of WebP for a picture whose images are reduced by this factor."""
    return images.LOSSY if factor > 1 else None


def _field(part: opened.Field, label: str) -> dict[str, Any]:
    picture = images.data_uri(opened.coloured(part), 90)
    description = "The discriminator's field: colour, with real points and samples above it"
    real, synthetic = (
        [(float(x), float(y)) for x, y in points] for points in (part.real, part.synthetic)
    )
    svg = charts.field_chart(
        description, picture, part.frame, real, synthetic, opened.zero_line(part)
    )
    low, high = float(part.logits.min()), float(part.logits.max())
    caption = f"{label}: values from {shown(low)} to {shown(high)}, {len(real)} points of each kind"
    if part.less:
        caption += f"; the median, {shown(part.less)}, is taken away: this game has no zero"
    return {"svg": svg, "caption": caption}


def _series(settings: Sequence[Setting]) -> list[Series]:
    """Order the pictures of all runs: one run of each setting first, best setting first."""
    order = {m.name: (i, j) for j, s in enumerate(settings) for i, m in enumerate(s.members)}
    members = sorted((m for s in settings for m in s.members), key=lambda m: order[m.name])
    return [Series(m.name, kind, m.pictures[kind]) for m in members for kind in KINDS]


def _pictures(folder: Folder, selection: Selection) -> dict[str, Any]:
    """Make the section of pictures by step, with notes on omitted ones."""
    order = {member.name: i for i, member in enumerate(folder.members)}
    series = sorted(selection.series, key=lambda s: (KINDS.index(s.kind), order[s.name]))
    kinds = []
    for kind in KINDS:
        some = [_figure(i, each, folder) for i, each in enumerate(series) if each.kind == kind]
        note = (
            "Each input, and to its right what became of it." if kind == "reconstructions" else ""
        )
        if some:
            kinds.append({"name": kind.capitalize(), "note": note, "series": some})
    notes, missing = [], []
    if selection.pictures < selection.of:
        notes.append(
            f"{selection.pictures} of {selection.of} pictures shown, to keep the page small."
        )
    if selection.left_out:
        notes.append(f"{selection.left_out} series of pictures are left out.")
    if selection.quality is not None:
        notes.append(f"They are compressed with loss (WebP, quality {selection.quality}).")
    for kind in KINDS:
        if not any(member.pictures[kind] for member in folder.members):
            missing.append(f"There are no {kind} in the folder.")
    steps = sorted({step for each in series for step in each.steps})
    data = [
        {
            "steps": each.steps,
            "uris": [None, *each.uris[1:-1], None] if len(each.uris) > 1 else [None],
            "alt": _alt(each),
        }
        for each in series
    ]
    return {
        "kinds": kinds,
        "picture_steps": steps,
        "pictures": {"steps": steps, "series": data},
        "pictures_said": notes,
        "pictures_missing": missing,
    }


def _alt(each: Shown) -> str:
    return f"{each.kind.capitalize()} of {each.name} after step"


def _figure(index: int, each: Shown, folder: Folder) -> dict[str, Any]:
    return {
        "index": index,
        "name": each.name,
        "first": len(each.steps) > 1,
        "first_image": _image(f"p{index}-first", each, 0, folder.is_sweep),
        "first_step": shown(each.steps[0]),
        "last_image": _image(f"p{index}", each, -1, folder.is_sweep),
        "last_step": shown(each.steps[-1]),
    }


def _image(identity: str, each: Shown, at: int, small: bool) -> str:
    factor = max(1, TARGET[small] // each.width)
    kind = ' class="smooth"' if each.width > TARGET[small] else ""
    size = f'width="{each.width * factor}" height="{each.height * factor}"'
    alt = escape(f"{_alt(each)} {shown(each.steps[at])}")
    return f'<img id="{identity}"{kind} src="{each.uris[at]}" {size} alt="{alt}">'
