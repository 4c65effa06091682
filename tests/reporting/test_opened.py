"""Pictures of a checkpoint: nearest images and D's decision boundary; and the command."""

from pathlib import Path

import numpy as np
import pytest
from commands import run, tiny

from latentgen.reporting import neighbours, opened

SHORT = ["--config.steps=100", "--config.every.checkpoint=50"]


def test_nearest_images_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    x, among = (rng.random((n, 16), np.float32) for n in (7, 12_000))
    which, distance = neighbours.nearest(x, [among[:5_000], among[5_000:]], 3)
    for i in range(7):
        exact = np.sqrt(((x[i].astype(float) - among) ** 2).mean(axis=1))
        assert distance[i] == pytest.approx(np.sort(exact)[:3], abs=1e-4)
        assert exact[which[i]] == pytest.approx(distance[i], abs=1e-4)
    found, zero = neighbours.nearest(among[:2], [among], 1)
    assert found[:, 0].tolist() == [0, 1]
    assert zero.max() < 1e-3


def field(values: np.ndarray) -> opened.Field:
    nothing = np.zeros((0, 2))
    return opened.Field(values, (-1.0, -1.0, 1.0, 1.0), nothing, nothing, 0.0)


def test_the_line_of_zero_lies_where_the_function_is_zero() -> None:
    side = np.linspace(-0.95, 0.95, 20)  # the centres of 20 cells in the frame
    x, y = np.meshgrid(side, side[::-1])
    pieces = opened.zero_line(field(x - 0.3 * y - 0.21))
    ends = np.array(pieces).reshape(-1, 2)
    assert len(pieces) >= 19
    assert ends[:, 0] - 0.3 * ends[:, 1] == pytest.approx(0.21)
    assert ends[:, 1].max() > 0.9 > -0.9 > ends[:, 1].min()
    assert opened.zero_line(field(np.ones((20, 20)))) == []


def test_colours_are_white_at_zero_and_part_for_signs() -> None:
    red, green, blue = opened.coloured(field(np.array([[1.0, 0.0, -1.0]] * 3)))[0].T.astype(int)
    assert (red[1], green[1], blue[1]) == (255, 255, 255)
    assert blue[0] > red[0]
    assert red[2] > blue[2]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    ring = ["--config.data.name=ring", "--config.data.preprocess=none"]
    kinds = {"vae": tiny("vae"), "ring": [*tiny("gan"), *ring]}
    for name, flags in kinds.items():
        done = run("run", *flags, *SHORT, f"--workdir={folder / name}")
        assert done.returncode == 0, done.stderr
    return {name: folder / name for name in kinds}


def test_a_report_of_images(runs: dict[str, Path]) -> None:
    done = run("report", str(runs["vae"]))
    assert done.returncode == 0, done.stderr
    text = (runs["vae"] / "report.html").read_text()
    assert "8 of 8 coordinates" in text
    assert "12 samples, below each its nearest training images" in text
    assert "root mean square over features of the digits classifier" in text
    assert "Only points in the plane can be looked at in this way." in text
    assert 'alt="Reconstructions of vae after step 100"' in text


def test_a_report_of_points(runs: dict[str, Path], tmp_path: Path) -> None:
    done = run("report", f"--workdir={runs['ring']}", "--out", str(tmp_path / "new" / "x.html"))
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "new" / "x.html").read_text()
    assert (
        "The discriminator&#39;s field: colour" in text or "The discriminator&#x27;s field" in text
    )
    assert "400 points of each kind" in text
    assert "Only images can be looked at in this way." in text
    assert not (runs["ring"] / "report.html").exists()


def test_a_run_whose_data_are_missing_still_has_a_page(runs: dict[str, Path]) -> None:
    data = runs["vae"] / "data.json"
    kept = data.read_text()
    try:
        data.write_text(kept.replace("1397", "1398"))
        found = opened.open_run(runs["vae"], "vae")
    finally:
        data.write_text(kept)
    assert isinstance(found.traversal, str)
    assert "trained on other data" in found.traversal


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "DIR is missing"),
        (["nowhere"], "holds neither a run"),
        (["a", "b"], "'b' is not a flag"),
        (["a", "--workdir=b"], "say the same"),
        (["RUN", "--metric=validation/losses"], "--metric='validation/losses' is no run's"),
        (["RUN", "--best=-1"], "--best"),
        (["RUN", "--runs=."], "--runs is for a folder of baselines"),
        (["RUN", "--out=/dev/null/x.html"], "folder of --out"),
    ],
)
def test_mistakes_are_told_in_a_line(runs: dict[str, Path], flags: list[str], said: str) -> None:
    done = run("report", *(str(runs["vae"]) if flag == "RUN" else flag for flag in flags))
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") <= 1


def test_other_doors_still_take_no_words() -> None:
    done = run("compare", "--metric=frechet", "runs/a")
    assert done.returncode == 2
    assert "'runs/a' is not a flag" in done.stderr
