"""Classes by number and by name."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from latentgen.core.errors import BadInput
from latentgen.training import classes
from latentgen.training.setup import Run

NAMES = ("cat", "dog", "0")


def run(folder: Path, number: int, names: tuple[str, ...] = ()) -> Run:
    """A run of which only the classes are known."""
    experiment: Any = SimpleNamespace(plan=SimpleNamespace(classes=number))
    data: Any = SimpleNamespace(classes=names)
    nothing: Any = None
    return Run(folder, {}, experiment, data, nothing, nothing)


def test_numbers_and_names_are_parsed_and_a_name_comes_first() -> None:
    assert classes.parse("--classes", ["dog", "0", "2", "1"], 3, NAMES) == (1, 2, 2, 1)
    assert classes.parse("--classes", ["1"], 3, ()) == (1,)


@pytest.mark.parametrize(
    ("values", "names", "said"),
    [
        (["dgo"], NAMES, "--classes='dgo' is no class; did you mean 'dog'? Valid: 0 .. 2, or cat"),
        (["3"], (), "--classes='3' is no class. Valid: 0 .. 2."),
        (["-1"], (), "--classes='-1' is no class"),
        (["cat"], (), "--classes='cat' is no class"),
        ([], NAMES, "--classes is empty"),
    ],
)
def test_unknown_classes_are_refused(values, names, said: str) -> None:
    with pytest.raises(BadInput) as error:
        classes.parse("--classes", values, 3, names)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_class_without_a_name_that_can_be_written_is_its_number() -> None:
    assert [classes.shown(i, ("caf\u00e9", "\u732b", "")) for i in range(4)] == [
        *("caf\u00e9", "1", "2", "3")
    ]
    assert classes.shown(0, ("a\x1b[2J\nb",)) == "a\\x1b[2J b"


def test_captions_are_of_conditional_methods_only(tmp_path: Path) -> None:
    label = np.array([1, 0])
    assert classes.captions(run(tmp_path, 2, NAMES), label, repeats=2) == [
        *("dog", "dog", "cat", "cat")
    ]
    assert classes.captions(run(tmp_path, 2), label) == ["1", "0"]
    assert classes.captions(run(tmp_path, 0, NAMES), label) == []
    assert classes.captions(run(tmp_path, 2, NAMES), None) == []


@pytest.mark.parametrize(("kept", "names"), [(["a", "b"], ("a", "b")), ("ab", ()), ([1], ())])
def test_the_workdir_keeps_names_for_data_that_are_not_read(kept, names, tmp_path: Path) -> None:
    described = {"shape": [8, 8, 1], "dtype": "uint8", "classes": kept}
    (tmp_path / "data.json").write_text(json.dumps({"example": described}))
    assert classes.names_of(run(tmp_path, 2)) == names
