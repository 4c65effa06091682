"""A few pictures read as an array: by name, cut to a square, or refused in a line."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from made_pictures import encoded, noise, write

from latentgen.core.errors import BadInput
from latentgen.data.pictures import few


def test_a_file_a_folder_and_a_zip_give_the_same_pictures(tmp_path: Path) -> None:
    pictures = {name: encoded(noise(8, 8, i)) for i, name in enumerate(("b.png", "a.png"))}
    folder = write(tmp_path / "folder", pictures)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        for name, content in pictures.items():
            packed.writestr(name, content)
    whole, names = few.read(folder, (8, 8, 3), 10)
    assert names == ["a.png", "b.png"]
    np.testing.assert_array_equal(whole[0], np.asarray(noise(8, 8, 1)))
    np.testing.assert_array_equal(few.read(tmp_path / "x.zip", (8, 8, 3), 10)[0], whole)
    alone, (name,) = few.read(folder / "b.png", (8, 8, 3), 10)
    assert name == "b.png"
    np.testing.assert_array_equal(alone, whole[1:])
    np.testing.assert_array_equal(few.read(folder, (8, 8, 3), 1)[0], whole[:1])
    assert few.read(folder, (4, 4, 1), 10)[0].shape == (2, 4, 4, 1)


def test_shapes_that_pictures_cannot_have_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, {"a.png": encoded(noise(8, 8))})
    for shape in ((8, 6, 3), (8, 8, 2)):
        with pytest.raises(BadInput, match="are made square, grey or RGB"):
            few.read(folder, shape, 1)
