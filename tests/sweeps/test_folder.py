"""A sweep's folder through what kills its launcher or its disk."""

from pathlib import Path
from typing import Any

import pytest
import small

from latentgen.storage import workdir
from latentgen.sweeps import folder

ROWS = [{"config.seed": seed} for seed in range(4)]


def names(place: Path) -> list[int]:
    return [member.seed for member in folder.load(place).members]


@pytest.mark.parametrize("written", [workdir.write_json, workdir.write_lines])
def test_a_launcher_that_ends_before_there_is_a_sweep_leaves_nothing_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Any
) -> None:
    def full(path: Path, value: Any) -> None:
        (tmp_path / folder.MANIFEST).write_text('{"run": "half')
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(workdir, written.__name__, full)
    with pytest.raises(OSError, match="No space"):
        small.opened(tmp_path, ROWS)
    monkeypatch.undo()
    small.opened(tmp_path, ROWS[:3])
    assert names(tmp_path) == [0, 1, 2]


def test_a_member_that_was_torn_while_a_sweep_grew_is_added_again(tmp_path: Path) -> None:
    small.opened(tmp_path, ROWS[:2])
    with open(tmp_path / folder.MANIFEST, "a") as file:
        file.write('{"run": "half')
    assert names(tmp_path) == [0, 1]
    small.opened(tmp_path, ROWS)
    assert names(tmp_path) == [0, 1, 2, 3]


def test_a_member_that_stands_there_twice_is_one(tmp_path: Path) -> None:
    small.opened(tmp_path, ROWS[:2])
    file = tmp_path / folder.MANIFEST
    file.write_text(2 * file.read_text())
    assert names(tmp_path) == [0, 1]
