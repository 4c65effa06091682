import numpy as np
import pytest

from latentgen.core.errors import BadInput
from latentgen.data.published import celeba

MEMBERS = ("000003.jpg", "000001.jpg", "000002.jpg")


def _attributes(n=3):
    return np.random.default_rng(0).choice([-1, 1], (n, 40))


@pytest.fixture
def files(tmp_path, pack):
    members = {"img_align_celeba/": b""} | {f"img_align_celeba/{m}": b"jpeg" for m in MEMBERS}
    paths = {"img_align_celeba.zip": pack("img_align_celeba.zip", members)}
    lines = [
        f"{m} {' '.join(f'{v:2d}' for v in row)}"
        for m, row in zip(MEMBERS, _attributes(), strict=True)
    ]
    texts = {
        "list_eval_partition.txt": "000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n",
        "list_attr_celeba.txt": "\n".join(["3", " ".join(celeba.ATTRIBUTES) + " ", *lines, ""]),
    }
    for name, text in texts.items():
        paths[name] = tmp_path / name
        paths[name].write_text(text)
    return paths


def _refused(files):
    with pytest.raises(BadInput) as info:
        celeba.rows(files)
    assert "\n" not in str(info.value)
    return str(info.value)


def test_rows_join_the_three_files_sorted_by_member(files):
    found = celeba.rows(files)
    assert [row.member for row in found] == [f"img_align_celeba/00000{i}.jpg" for i in (1, 2, 3)]
    assert [row.split for row in found] == ["train", "validation", "test"]
    assert all(row.attributes.dtype == np.int8 for row in found)
    np.testing.assert_array_equal([row.attributes for row in found], _attributes()[[1, 2, 0]])


def test_attributes_are_forty_in_the_order_of_the_header():
    assert len(set(celeba.ATTRIBUTES)) == 40
    assert list(celeba.ATTRIBUTES) == sorted(celeba.ATTRIBUTES)
    assert sum(celeba.SPLITS.values()) == 202_599


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        ("list_eval_partition.txt", "000002.jpg 1\n", "", "it has no 000002.jpg, of 1"),
        ("list_eval_partition.txt", ".jpg 1", ".jpg 3", "'000002.jpg 3' is not a file name and"),
        ("list_eval_partition.txt", "000002.jpg 1", "000002.jpg", "is not a file name and"),
        ("list_attr_celeba.txt", "3\n", "4\n", "its first lines are not 3"),
        ("list_attr_celeba.txt", "Bald", "Hairy", "its first lines are not"),
        ("list_attr_celeba.txt", "000001.jpg", "000001.jpg 1", "000001.jpg has not 40"),
    ],
)
def test_lists_that_do_not_fit_are_refused(files, name, old, new, problem):
    path = files[name]
    path.write_text(path.read_text().replace(old, new, 1))
    text = _refused(files)
    assert problem in text
    assert str(path) in text


def test_an_image_that_only_the_lists_have_is_named(files, pack):
    first = {f"img_align_celeba/{m}": b"jpeg" for m in MEMBERS[:2]}
    files["img_align_celeba.zip"] = pack("img_align_celeba.zip", first)
    text = _refused(files)
    assert "img_align_celeba.zip" in text
    assert "it has no 000002.jpg" in text


@pytest.mark.parametrize("file", celeba.FILES, ids=lambda file: file.name)
def test_a_missing_file_is_named(files, file):
    del files[file.name]
    assert f"{file.name} is missing" in _refused(files)


@pytest.mark.parametrize("name", ["img_align_celeba.zip", "list_attr_celeba.txt"])
def test_truncated_files_are_refused(files, name):
    path = files[name]
    path.write_bytes(path.read_bytes()[:-30])
    assert str(path) in _refused(files)
