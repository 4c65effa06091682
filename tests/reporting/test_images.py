"""Pictures: shrunk to what they are of, the same when decoded, thinned to a budget."""

import base64
import io
from pathlib import Path

import made_up
import numpy as np
import PIL.Image
import pytest

from latentgen.reporting import images
from latentgen.training import pictures


@pytest.mark.parametrize(("side", "columns", "n"), [(8, 8, 64), (28, 8, 32), (32, 3, 7), (8, 1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_is_shrunk_to_its_pixels(side: int, columns: int, n: int, channels: int) -> None:
    x = np.random.default_rng(0).random((n, side, side, channels), np.float32)
    small = images.shrunk(pictures.grid(x, columns, gap=4))
    whole = np.rint(255 * x).astype(np.uint8)
    assert np.array_equal(small, images.mosaic(whole, columns))


def test_what_is_no_grid_stays_as_it_is() -> None:
    points = pictures.scatter(np.random.default_rng(0).random((100, 2)))
    assert np.array_equal(images.shrunk(points), points)
    large = pictures.grid(np.random.default_rng(0).random((4, 60, 60, 1), np.float32), gap=4)
    assert np.array_equal(images.shrunk(large), large)


def test_a_data_uri_holds_the_picture_without_loss() -> None:
    x = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    head, _, body = images.data_uri(x).partition(",")
    assert head == "data:image/webp;base64"
    with PIL.Image.open(io.BytesIO(base64.b64decode(body))) as file:
        assert np.array_equal(np.asarray(file), x)
    assert len(images.webp(x, 30)) < len(images.webp(x))


def test_thin_keeps_first_and_last() -> None:
    steps = list(range(0, 1001, 10))
    kept = images.thin(steps, 7)
    assert (len(kept), kept[0], kept[-1]) == (7, 0, 1000)


def series(folder: Path, names: str, steps: list[int]) -> list[images.Series]:
    found = []
    for name in names:
        files = {}
        for step in steps:
            files[step] = folder / f"{name}{step}.png"
            pictures.save_png(files[step], made_up.digits(step + ord(name)))
        found.append(images.Series(name, "samples", files))
    return found


def test_a_budget_thins_steps_then_quality_then_series(tmp_path: Path) -> None:
    some = series(tmp_path, "abcd", [0, 10, 20, 30, 40, 50, 60, 70, 80])
    free = images.select(some, 10**7)
    assert (free.pictures, free.of, free.left_out, free.quality) == (36, 36, 0, None)
    total = sum(len(uri) for each in free.series for uri in each.uris)
    before = free.pictures + 1
    for share in (0.9, 0.4, 0.15, 0.02, 0.0):
        found = images.select(some, int(share * total))
        assert sum(len(uri) for each in found.series for uri in each.uris) <= share * total
        assert found.of == 36
        assert found.pictures < before or found.quality is not None
        for each in found.series:
            assert (each.steps[0], each.steps[-1]) == (0, 80)
        before = found.pictures + 1
    assert found.pictures == 0
    assert found.left_out == 4


def test_series_show_the_same_steps_and_each_its_own_last(tmp_path: Path) -> None:
    long = series(tmp_path, "a", list(range(0, 1000, 10)))
    short = series(tmp_path, "b", list(range(0, 310, 10)))
    a, b = images.select([*long, *short], 10**7).series
    assert b.steps[-1] == 300
    assert set(b.steps[:-1]) <= set(a.steps)


def test_a_file_that_is_no_picture_is_passed_over(tmp_path: Path) -> None:
    (some,) = series(tmp_path, "a", [0, 10, 20])
    some.files[10].write_bytes(b"torn")
    assert images.select([some], 10**6).series[0].steps == [0, 20]


def test_only_png_is_decoded(tmp_path: Path) -> None:
    """Pillow would start Ghostscript for an EPS file, whatever its name."""
    PIL.Image.new("RGB", (9, 9)).save(tmp_path / "step_1.png", format="EPS")
    with pytest.raises(OSError, match="cannot identify image file"):
        images.read(tmp_path / "step_1.png")
