"""A page's text: complete within its size limit, escaped, and naming what it leaves out."""

import base64
import io
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import made_up
import numpy as np
import PIL.Image
import pytest
from markup import EVIL, Reader

from latentgen.metrics.intervals import spread
from latentgen.reporting import folders, images, page, scores
from latentgen.reporting.opened import Opened
from latentgen.training import pictures


def written(
    path: Path,
    metric: str | None = None,
    looked_at: tuple[Opened, ...] = (),
    limit: int | None = None,
) -> str:
    folder = folders.open_folder(path)
    chosen = scores.choose_metric(folder.members, metric)
    given = metric is not None
    return page.page(folder, looked_at, chosen, True, given, "the command", limit)


def test_a_run_page_holds_what_it_is_about(tmp_path: Path) -> None:
    folder = made_up.run(tmp_path / "some_run", kinds=folders.KINDS)
    read = Reader(written(folder))
    for words in (
        "some_run",
        "generator_loss",
        "python -m latentgen.run --config experiments/gan.py",
    ):
        assert words in read.text
    assert "There are no" not in read.text
    data = json.loads(read.scripts["data"])
    assert data["curves"]["cost"]["train"]["some_run"][0][-1] == 1000
    assert data["config"] == made_up.CONFIG
    headings = [int(tag[1]) for tag, _ in read.elements if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))


def test_without_javascript_first_and_last_picture_are_there(tmp_path: Path) -> None:
    folder = made_up.run(tmp_path / "run", steps=(0, 250, 1000))
    read = Reader(written(folder))
    shown = {image["alt"]: image["src"] or "" for image in read.all("img")}
    for step in (0, 1000):
        source = shown[f"Samples of run after step {step:,}"]
        body = base64.b64decode(source.partition(",")[2])
        with PIL.Image.open(io.BytesIO(body)) as file:
            found = np.asarray(file.convert("L"))
        assert np.array_equal(found, images.shrunk(made_up.digits(step))[..., 0])
    assert len(shown) == 2
    (slider,) = [each for each in read.all("div") if each.get("id") == "slider"]
    assert "hidden" in slider
    hidden = [attributes for _, attributes in read.elements if "hidden" in attributes]
    assert hidden == [slider]
    between = json.loads(read.scripts["pictures"])["series"][0]["uris"]
    assert [uri and uri[:15] for uri in between] == [None, "data:image/webp", None]


def test_everything_is_escaped(tmp_path: Path) -> None:
    config = {**made_up.CONFIG, "note": EVIL, EVIL: {EVIL: EVIL}}
    members = made_up.learning_rates({0.1: [1.0, 2.0], 0.2: [3.0]})
    members[0] |= {"setting": EVIL, "changes": {EVIL: EVIL}, "config": config, "terms": (EVIL,)}
    members[2]["status"] = {"status": EVIL, "reason": EVIL, "attempts": EVIL}
    sweep = made_up.sweep(tmp_path / "sweep", members)
    origin = {"config": config, "spec": EVIL, "command": EVIL, "commit": EVIL}
    (sweep / "sweep.json").write_text(json.dumps(origin))
    made_up.lines(sweep / "runs" / "lr=0.1,s=1" / "skipped.jsonl", [{"step": EVIL}, {"step": 7}])
    evaluation = {"metric": EVIL, "split": EVIL, "values": {EVIL: 1.0}, "protocol": {EVIL: EVIL}}
    made_up.lines(sweep / "runs" / "lr=0.1,s=1" / "evaluations.jsonl", [evaluation])
    opened = (Opened(EVIL, 1, EVIL, EVIL, EVIL),)
    for path in (sweep, sweep / "runs" / "lr=0.1,s=0"):
        read = Reader(written(path, looked_at=opened))
        assert list(read.scripts) == ["data", "pictures", "code"]
        assert EVIL in read.text
        left_out = f"lr=0.1,s=1 left out where it diverged: step {EVIL}, 7."
        assert (left_out in read.text) == (path == sweep)
        assert json.loads(read.scripts["data"])["config"] == config
        for tag, attributes in read.elements:
            assert not any(name.startswith("on") for name in attributes), tag
        assert all((each["src"] or "").startswith("data:image/webp") for each in read.all("img"))


def test_the_page_may_load_nothing(tmp_path: Path) -> None:
    text = written(made_up.run(tmp_path / "run"))
    (policy,) = [m["content"] for m in Reader(text).all("meta") if "http-equiv" in m]
    rules = dict(rule.strip().split(" ", 1) for rule in (policy or "").split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert "unsafe" not in (policy or "")
    assert re.findall(r'(?:src|href)="(?!data:|#)', text) == []


def noise(side: int = 28) -> bytes:
    x = np.random.default_rng(0).random((64, side, side, 1), np.float32)
    return pictures.png(pictures.grid(x, gap=4))


def test_a_run_of_many_large_pictures_stays_below_2_mb_and_says_so(tmp_path: Path) -> None:
    config = {**made_up.CONFIG, "steps": 20_000}
    steps = tuple(range(0, 20_001, 200))
    terms = tuple(f"term_{i}" for i in range(10))
    more = {"config": config, "steps": steps, "each": 10, "terms": terms, "kinds": folders.KINDS}
    text = written(made_up.run(tmp_path / "run", picture=noise(), **more))
    assert 1_000_000 < len(text.encode()) <= 2_000_000
    found = re.search(r"(\d+) of 202 pictures shown", text)
    assert found is not None
    assert 4 <= int(found[1]) < 202
    assert "Curves are thinned to at most 300 points each." in text


@pytest.mark.long
def test_a_sweep_stays_below_its_limit_and_says_so(tmp_path: Path) -> None:
    losses = {0.001 * (i + 1): [1.0 + i, 2.0 + i] for i in range(30)}
    more = {"steps": (0, 500, 1000), "picture": noise(), "terms": ("cost",)}
    sweep = made_up.sweep(tmp_path / "s", made_up.learning_rates(losses), **more)
    text = written(sweep, limit=600_000)
    assert 200_000 < len(text.encode()) <= 600_000
    assert re.search(r"\d+ of 180 pictures shown", text)
    assert re.search(r"\d+ series of pictures are left out", text)
    shown = json.loads(Reader(text).scripts["pictures"])["series"]
    assert {each["steps"][0] for each in shown} == {0}
    assert {each["steps"][-1] for each in shown} == {1000}


@pytest.mark.long
def test_a_sweep_of_100_runs_stays_below_5_mb_and_says_so(tmp_path: Path) -> None:
    losses = {0.001 * (i + 1): [1.0 + i + j for j in range(5)] for i in range(20)}
    more = {"steps": tuple(range(0, 1001, 50)), "picture": noise(), "each": 2}
    terms = tuple(f"term_{i}" for i in range(8))
    sweep = made_up.sweep(tmp_path / "s", made_up.learning_rates(losses), terms=terms, **more)
    text = written(sweep)
    assert 1_500_000 < len(text.encode()) <= 5_000_000
    assert re.search(r"\d+ of 2100 pictures shown", text)
    assert re.search(r"\d+ series of pictures are left out", text)
    assert "Curves are thinned to at most" in text
    shown = json.loads(Reader(text).scripts["pictures"])["series"]
    assert len(shown) >= 20
    assert {each["steps"][0] for each in shown} == {0}
    assert {each["steps"][-1] for each in shown} == {1000}


def test_settings_are_listed_best_first_with_their_counts(tmp_path: Path) -> None:
    members = made_up.learning_rates({0.1: [3.0, 4.0], 0.2: [1.0, 2.0], 0.3: [9.0]})
    members[1]["status"] = {"status": "diverged", "reason": "loss is not finite", "attempts": 2}
    read = Reader(written(made_up.sweep(tmp_path / "sweep", members), "validation/loss"))
    table = read.text.partition("median")[2].partition("Runs, means")[0].split()[4:]
    x = spread([1.0, 2.0])
    interval = f"{x.low:.3f} to {x.high:.3f}".replace("-", "\u2212").split()
    dash = "\u2013"
    assert table[:11] == ["lr=0.2", "1.500", "0.7071", *interval, "1.500", "2", "0", "0", "0.2"]
    assert table[11:20] == ["lr=0.1", "3", dash, dash, "3", "1", "1", "0", "0.1"]
    assert table[20:] == ["lr=0.3", "9", dash, dash, "9", "1", "0", "0", "0.3"]
    failed = read.text.partition("Runs that are not done")[2].partition("Pictures over")[0].split()
    assert failed[5:9] == ["lr=0.1,s=1", "diverged", "1,000", "2"]
    assert " ".join(failed[9:]) == "loss is not finite"
    assert "lower is better" in read.text
    assert "In 1 of 3 settings runs diverged or failed" in read.text
    assert "One run alone has no interval." in read.text


def test_a_game_s_loss_is_called_what_it_is(tmp_path: Path) -> None:
    sweep = made_up.sweep(tmp_path / "sweep", made_up.learning_rates({0.1: [3.0, 4.0]}))
    assert "train/cost is part of a game" in written(sweep, "train/cost")
    assert "is part of a game" not in written(sweep, "validation/loss")


def test_protocols_that_differ_are_told_apart(tmp_path: Path) -> None:
    sweep = made_up.sweep(tmp_path / "sweep", made_up.learning_rates({0.1: [3.0, 4.0]}))
    for seed, samples in enumerate((100, 200)):
        line = {"metric": "frechet", "split": "test", "step": 1000, "protocol": {"real": samples}}
        line["values"] = {"frechet_distance": 5.0 + seed, "lost": "nan"}
        made_up.lines(sweep / "runs" / f"lr=0.1,s={seed}" / "evaluations.jsonl", [line])
    text = written(sweep)
    assert "split: test, real: 100" in text
    assert "split: test, real: 200" in text
    assert text.count("were come by differently") == 2


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "metrics.jsonl").write_text("no JSON\n{}\n")
    (folder / "summary.json").write_text("torn")
    why = "The run cannot be opened: no checkpoint yet."
    text = Reader(written(folder, looked_at=(Opened("run", None, why, why, why),))).text
    assert text.count(why) == 3
    for words in (
        "summary.json cannot be read.",
        "metrics.jsonl cannot be read",
        "There are no samples in the folder.",
        "There are no reconstructions in the folder.",
        "Nothing has been logged yet.",
        "None yet:",
        "The config is missing.",
        "not known before the run has ended",
    ):
        assert words in text


def test_a_sweep_without_any_runs_yet_is_a_page(tmp_path: Path) -> None:
    members = made_up.learning_rates({0.1: [3.0, 4.0]})
    for member in members:
        member["made"] = False
    text = Reader(written(made_up.sweep(tmp_path / "sweep", members))).text
    assert "pending" in text
    assert "settings cannot be ranked" in text
    assert "No run is done." in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((None, "\u2013"), (2000, "2,000"), (0.123456, "0.1235"), (-1.5, "\u22121.500")),
        *((12345.678, "12,346"), (1e-9, "1.000e\u221209"), (float("nan"), "nan"), ("a", "a")),
        *((True, "true"), ([1, 2], "[1, 2]"), (float("inf"), "inf")),
        ({"mean": 1.5, "standard_error": 0.25}, "1.500 \u00b1 0.2500"),
    ],
)
def test_values_are_shown_in_few_characters(value: object, text: str) -> None:
    assert page.shown(value) == text


def test_names_splits_stamps_and_hosts_are_escaped_too(tmp_path: Path) -> None:
    """Text from a folder instead of its config: its name may contain anything but a slash."""
    evil = EVIL.replace("/", "")
    members = made_up.learning_rates({0.1: [1.0, 2.0]})
    members[0]["run"] = evil
    status = {"status": "running", "beat": EVIL, "host": EVIL}
    sweep = made_up.sweep(tmp_path / evil, members)
    run = sweep / "runs" / evil
    (run / "status.json").write_text(json.dumps(status))
    stamp = {"data": {EVIL: EVIL, "splits": {EVIL: EVIL}}, "device": {EVIL: EVIL}}
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, **stamp, "command": EVIL}))
    with open(run / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": 1000, "seconds": 1, "split": EVIL, EVIL: 1.0}) + "\n")
    for path in (sweep, run):
        read = Reader(written(path))
        assert list(read.scripts) == ["data", "pictures", "code"]
        assert evil in read.text
        assert EVIL in read.text
        assert not any(name.startswith("on") for _, found in read.elements for name in found)
        assert all((each["src"] or "").startswith("data:image/webp") for each in read.all("img"))


ODD = (None, 3, "x", [], {}, [1], {"a": 1}, True, float("nan"), -1, 10**400, {"b": {"c": []}})


def keys_of(value: object, place: tuple = ()) -> Iterator[tuple]:
    yield place
    for key in value if isinstance(value, dict) else ():
        yield from keys_of(value[key], (*place, key))


def changed(value: object, place: tuple, new: object) -> object:
    if not place:
        return new
    return {**value, place[0]: changed(value[place[0]], place[1:], new)}


@pytest.mark.parametrize(
    "name",
    [
        *("config.json", "status.json", "diverged.json", "summary.json"),
        *("metrics.jsonl", "evaluations.jsonl"),
    ],
)
@pytest.mark.quick(2)
def test_whatever_a_file_holds_a_page_is_written(tmp_path: Path, name: str) -> None:
    """Replace each value of a run's file in turn by an unexpected one."""
    run = made_up.run(tmp_path / "run", steps=(0,), each=500)
    (run / "status.json").write_text('{"status": "diverged", "beat": 2.0, "host": "x"}')
    (run / "diverged.json").write_text('{"tensor": "x", "tensors": {"x": {"not_finite": 1}}}')
    protocol, data = {"images": 3}, {"name": "digits", "sha256": "x"}
    line = {"metric": "is", "split": "test", "step": 3, "values": {"x": {"mean": 1.0}}}
    made_up.lines(run / "evaluations.jsonl", [line | {"protocol": protocol, "data": data}])
    first, *rest = (run / name).read_text().splitlines() if name[-1] == "l" else ["", ""]
    whole = json.loads(first or (run / name).read_text())
    for i, place in enumerate(keys_of(whole)):
        new = ODD[i % len(ODD)]
        (run / name).write_text("\n".join([json.dumps(changed(whole, place, new)), *rest]) + "\n")
        assert "</html>" in written(run)
