"""A run holds no more after many saves than after a few: `studies.flatness` in short."""

from pathlib import Path

import numpy as np
import pytest

from latentgen.training import setup
from tests.studies import flatness

SAVES, EVERY = 24, 20
LEAKS = {"array": "arrays", "file": "files", "thread": "threads", "program": "programs"}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.long
def test_what_a_run_holds_is_constant_and_a_leak_is_seen(tmp_path: Path) -> None:
    """The first half undisturbed; in the second, each save loses one of each on purpose."""
    run = setup.load(tmp_path / "run", flatness.config(SAVES * EVERY, EVERY), None, None)
    leaks = [flatness.Leak(name, SAVES * EVERY // 2) for name in LEAKS]
    try:
        samples = flatness.sampled(run, leaks, collections=1)
    finally:
        for leak in leaks:
            leak.mend()
    assert [sample.step for sample in samples] == list(range(EVERY, SAVES * EVERY + 1, EVERY))
    half, warm = SAVES // 2, SAVES // 8
    for count in LEAKS.values():
        values = [getattr(sample, count) for sample in samples]
        assert flatness.constant(values[warm:half]).flat, (count, values)
        assert not flatness.constant(values[half:]).flat
        grown = [b - a for a, b in zip(values[half:-1], values[half + 1 :], strict=True)]
        assert min(grown) >= 1, (count, values)
    tasks = [sample.tasks for sample in samples[warm:half]]
    assert flatness.bounded(tasks).flat, tasks


def line(slope: float) -> list[flatness.Sample]:
    """Memory that grows so fast a save, below a saw's teeth of garbage, with noise of 20 KiB."""
    rng, samples = np.random.default_rng(0), []
    for i in range(900):
        collected = i % 25 == 0
        garbage = 0.0 if collected else 0.05 * (i % 164)
        memory = 400 + slope * i + 0.02 * rng.standard_normal() + garbage
        memory -= 100 * (i > 70)  # given back once
        samples.append(flatness.Sample(i, collected, 1.0, 1.0, memory, 1, 1, 1, 1, 1))
    return samples


@pytest.mark.parametrize(("kib", "flat"), [(0, True), (1, False), (-1, False), (30, False)])
def test_a_slope_of_a_kilobyte_a_save_is_told_from_noise(kib: float, flat: bool) -> None:
    assert flatness.level(line(kib / 1024)).flat is flat


@pytest.mark.parametrize(("slower", "flat"), [(0.0, True), (0.04, True), (0.07, False)])
def test_a_slow_down_is_told(slower: float, flat: bool) -> None:
    samples = [s._replace(cpu=1 + slower * i / 855) for i, s in enumerate(line(0))]
    assert flatness.steady(samples).flat is flat
