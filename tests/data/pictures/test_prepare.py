"""Prepared sets: their arrays, order, labels and splits; killed and continued; in processes."""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from made_pictures import encoded, noise, write

from latentgen.core.errors import BadInput
from latentgen.data import folders, sources
from latentgen.data.pictures import convert, gather, pieces, workers
from latentgen.data.pictures import prepare as module
from latentgen.data.pictures.prepare import Options, Prepared, prepare


def image(seed: int, mode: str = "RGB") -> bytes:
    return encoded(noise(4, 4, seed, mode))


def arrays(found: Prepared) -> dict[str, np.ndarray]:
    return {path.stem: np.load(path) for path in sorted(found.folder.glob("*.npy"))}


def card(found: Prepared) -> dict:
    return json.loads((found.folder / "card.json").read_text())


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all((one[k] == other[k]).all() for k in one)


def labels_of(found: Prepared, split: str = "train") -> dict[bytes, str]:
    """Pixels -> name of the class."""
    x, label = (arrays(found)[f"{split}_{name}"] for name in ("x", "label"))
    classes = card(found)["classes"]
    return {row.tobytes(): classes[i] for row, i in zip(x, label, strict=True)}


def pixels(seed: int) -> bytes:
    return noise(4, 4, seed).tobytes()


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    return tmp_path / "sets"


def test_arrays_digests_and_card(tmp_path: Path, parent: Path) -> None:
    write(tmp_path / "in", {f"{c}/{i}.png": image(i) for i, c in enumerate("abba")})
    found = prepare(tmp_path / "in", Options(4), parent)
    x, label = arrays(found)["train_x"], arrays(found)["train_label"]
    assert (x.shape, x.dtype, label.dtype) == ((4, 4, 4, 3), np.uint8, np.int32)
    order = sorted(map(pixels, range(4)), key=lambda p: hashlib.sha256(p).digest())
    assert [row.tobytes() for row in x] == order
    assert labels_of(found) == {pixels(i): c for i, c in enumerate("abba")}
    assert folders.read_digests(found.folder) == {
        "train_x": folders.digest(x),
        "train_label": folders.digest(label),
    }
    examples = {"train": sources.Examples(x, label)}
    data = sources.DataSet("n", "1", "", examples)
    assert card(found)["sha256"] == sources.identity(data, "unit")["sha256"]
    assert card(found)["shape"] == [4, 4, 3]
    assert card(found)["classes"] == ["a", "b"]
    assert found.report["classes"] == {"a": 2, "b": 2}
    assert found.report["width"] == [4, 4, 4]
    assert os.listdir(parent) == [found.folder.name]
    assert len(found.folder.name) == 16


def test_names_and_places_do_not_matter(tmp_path: Path, parent: Path) -> None:
    write(tmp_path / "in", {f"{i}.png": image(i) for i in range(20)})
    write(tmp_path / "other", {f"x/{99 - i}.jpg": image(i) for i in range(20)})
    one, other = (prepare(tmp_path / name, Options(4), parent) for name in ("in", "other"))
    assert one.folder != other.folder
    assert equal(arrays(one), arrays(other))


def test_a_prepared_set_is_found_again(
    tmp_path: Path, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "in", {"a.png": image(0), "b.png": b""})
    first = prepare(folder, Options(4), parent)
    with monkeypatch.context() as patch:
        patch.setattr(convert, "convert", None)
        assert prepare(folder, Options(4), parent) == first
    (first.folder / folders.DIGESTS).unlink()  # not complete: it is made again
    assert prepare(folder, Options(4), parent) == first
    assert folders.read_digests(first.folder)
    os.utime(folder / "a.png", ns=(0, 0))
    assert prepare(folder, Options(4), parent).folder != first.folder
    assert prepare(folder, Options(4, filter="box"), parent).folder != first.folder


def test_equal_images_are_counted(tmp_path: Path, parent: Path) -> None:
    write(tmp_path / "in", {f"{i}.png": image(i % 3) for i in range(7)})
    found = prepare(tmp_path / "in", Options(4), parent)
    assert (found.report["taken"], found.report["duplicates"]) == (7, 4)
    x = arrays(found)["train_x"].reshape(7, -1)
    assert (x[1:] != x[:-1]).any(axis=1).sum() == 2  # equal ones are neighbours


def test_splits_of_top_folders(tmp_path: Path, parent: Path) -> None:
    places = {"train/a": (0, 1, 2), "train/b": (3, 4), "valid/a": (1, 5), "test/b": (4, 5, 6)}
    files = {f"{at}/{i}.png": image(i) for at, seeds in places.items() for i in seeds}
    found = prepare(write(tmp_path / "in", files), Options(4), parent)
    assert labels_of(found) == {pixels(0): "a", pixels(2): "a", pixels(3): "b"}
    assert labels_of(found, "validation") == {pixels(1): "a"}
    assert labels_of(found, "test") == {pixels(i): "b" for i in (4, 5, 6)}
    assert found.report["in_two_splits"] == 3
    assert found.report["splits"] == {"train": 3, "validation": 1, "test": 3}
    assert found.report["seen"] == found.report["taken"] + 3
    splits = {
        split: sources.Examples(arrays(found)[f"{split}_x"], arrays(found)[f"{split}_label"])
        for split in sources.SPLITS
    }
    data = sources.DataSet("n", "1", "", splits)
    assert card(found)["sha256"] == sources.identity(data, "unit")["sha256"]


def test_what_is_refused_does_not_undo_the_splits(tmp_path: Path, parent: Path) -> None:
    files = {f"{at}/{i}.png": image(i) for i, at in enumerate(("Train/a", "Train/b", "TEST/a"))}
    folder = write(tmp_path / "in", files | {"logo.svg": b"x", "cover.png": b"words"})
    found = prepare(folder, Options(4), parent)
    assert found.report["splits"] == {"train": 2, "test": 1}
    assert card(found)["classes"] == ["a", "b"]
    write(folder, {"unlabeled/9.png": image(9)})
    said = "'unlabeled/9.png' is in none of the folders test, train, which are splits"
    with pytest.raises(BadInput, match=said):
        prepare(folder, Options(4), parent)
    files = {f"{at}/{i}.png": image(i) for i, at in enumerate(("bus", "car", "train"))}
    vehicles = prepare(write(tmp_path / "vehicles", files), Options(4), parent)
    assert card(vehicles)["classes"] == ["bus", "car", "train"]


def test_what_latentgen_writes_is_no_picture_of_the_users(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", {"a/0.png": image(0)})
    prepare(folder, Options(4), folder / "latentgen_sets")
    write(folder, {"latentgen_sets/x/sheet.png": image(1)})
    write(folder, {"runs/mine/config.json": b"{}", "runs/mine/samples/1.png": image(2)})
    write(folder, {"b/config.json": b"{}", "b/samples/2.png": image(3)})  # the user's own
    (folder / "runs" / "mine" / "data.json").write_text("{}")
    found = [entry.name for entry in module.entries.listed(folder).entries]
    assert found == ["a/0.png", "b/samples/2.png"]


def test_a_train_split_of_copies(tmp_path: Path, parent: Path) -> None:
    write(tmp_path / "in", {"train/0.png": image(0), "test/0.png": image(0)})
    with pytest.raises(BadInput, match="train has no picture that can be used and is in no later"):
        prepare(tmp_path / "in", Options(4), parent)


def test_no_classes_and_no_splits(tmp_path: Path, parent: Path) -> None:
    for number, names in enumerate([("a/0", "b/1", "2"), ("a/0", "a/1"), ("test/a/0", "test/a/1")]):
        folder = tmp_path / str(number)
        write(folder, {f"{name}.png": image(i) for i, name in enumerate(names)})
        found = prepare(folder, Options(4), parent)
        assert card(found)["classes"] == []
        assert (arrays(found)["train_label"] == 0).all()


LABELS = {
    "numbers": ("dataset.json", '{"labels": [["a/0.png", 3], ["b/1.png", 1], ["c.png", 9]]}', "31"),
    "names": ("dataset.json", '{"labels": [["a/0.png", "cat"], ["b/1.png", "ape"]]}', "cat ape"),
    "header": ("labels.csv", "path,label\na/0.png,cat\n./b/1.png, ape\n\n", "cat ape"),
    "csv": ("labels.csv", '\ufeff"a/0.png",10\r\nb/1.png,2\r\n', "10 2"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_a_file(tmp_path: Path, parent: Path, kind: str) -> None:
    file, text, expected = LABELS[kind]
    write(tmp_path / "in", {"a/0.png": image(0), "b/1.png": image(1), "b/2.png": image(2)})
    (tmp_path / "in" / file).write_text(text, newline="")
    found = prepare(tmp_path / "in", Options(4), parent)
    names = expected.split() if " " in expected else list(expected)
    assert labels_of(found) == {pixels(i): name for i, name in enumerate(names)}
    assert found.report["refused"] == {"b/2.png": f"not in {file}"}
    assert found.report["ignored"] == 0


def test_a_file_that_says_there_are_no_labels(tmp_path: Path, parent: Path) -> None:
    write(tmp_path / "in", {"a/0.png": image(0), "b/1.png": image(1)})
    (tmp_path / "in" / "dataset.json").write_text('{"labels": null}')
    assert card(prepare(tmp_path / "in", Options(4), parent))["classes"] == []


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("dataset.json", "{", "dataset.json: Expecting"),
        ("dataset.json", "[]", 'dataset.json: needs a key "labels"'),
        ("dataset.json", '{"labels": 3}', '"labels" must be a list'),
        ("dataset.json", '{"labels": [["a.png", [0.5]]]}', r"\['a.png', \[0.5\]\] in"),
        ("dataset.json", '{"labels": [["a.png", -1]]}', r"dataset.json: label -1 must be in 0 .."),
        ("labels.csv", "a.png\n", "labels.csv: line 1 must be path,label"),
        ("labels.csv", "a.png,1\na.png,2\n", "'a.png' has two labels, '1' and '2'"),
    ],
)
def test_damaged_labels(tmp_path: Path, parent: Path, file: str, text: str, said: str) -> None:
    write(tmp_path / "in", {"a.png": image(0), file: text.encode()})
    with pytest.raises(BadInput, match=said):
        prepare(tmp_path / "in", Options(4), parent)


def test_colours_as_they_are(tmp_path: Path, parent: Path) -> None:
    grey = {f"{i}.png": image(i, "L") for i in range(3)} | {"3.png": encoded(noise(4, 4, 3, "1"))}
    folder = write(tmp_path / "in", grey)
    found, plain = (prepare(folder, Options(4, color=c), parent) for c in ("as_is", "grey"))
    assert arrays(found)["train_x"].shape == (4, 4, 4, 1)
    assert equal(arrays(found), arrays(plain))
    write(folder, {"4.png": image(4)})
    found, plain = (prepare(folder, Options(4, color=c), parent) for c in ("as_is", "rgb"))
    assert arrays(found)["train_x"].shape == (5, 4, 4, 3)
    assert equal(arrays(found), arrays(plain))


def test_strict(tmp_path: Path, parent: Path) -> None:
    folder = write(tmp_path / "in", {"a.png": image(0), "b.png": b"", "c.png": b"words"})
    with pytest.raises(BadInput, match=r"'b.png': empty file, and 1 more are refused\.$"):
        prepare(folder, Options(4, strict=True), parent)
    assert list(parent.iterdir()) == []  # not even its work


class Killed(BaseException):
    """Stands for the end of the process."""


def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MOST", 3)


def test_a_killed_preparation_continues(
    tmp_path: Path, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "in", {f"{i:02}.png": image(i) for i in range(11)})
    expected = prepare(folder, Options(4), tmp_path / "at once")
    small_pieces(monkeypatch)
    true, calls = convert.convert, []

    def counted(content: bytes, options: Options) -> convert.Picture:
        calls.append(content)
        if len(calls) == 8:
            raise Killed
        return true(content, options)

    monkeypatch.setattr(convert, "convert", counted)
    with pytest.raises(Killed):
        prepare(folder, Options(4), parent)
    assert [name[0] for name in os.listdir(parent)] == ["."]  # hidden
    seen: list[tuple[int, int]] = []
    found = prepare(folder, Options(4), parent, progress=lambda *each: seen.append(each))
    assert len(calls) == 8 + 11 - 6  # two pieces of three were there
    assert (seen[0], seen[-1]) == ((6, 11), (11, 11))
    assert equal(arrays(found), arrays(expected))
    assert os.listdir(parent) == [found.folder.name]


def test_killed_while_the_arrays_are_written(
    tmp_path: Path, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "in", {f"{i}.png": image(i) for i in range(4)})
    with monkeypatch.context() as patch:
        patch.setattr(folders, "write_digests", lambda *given: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            prepare(folder, Options(4), parent)
    found = prepare(folder, Options(4), parent)
    assert equal(arrays(found), arrays(prepare(folder, Options(4), tmp_path / "at once")))


def test_old_work_of_others_is_removed(tmp_path: Path, parent: Path) -> None:
    folder = write(tmp_path / "in", {"a.png": image(0)})
    for name in ("old", "new", "locked"):
        (parent / f".work_{name}").mkdir(parents=True)
        os.utime(parent / f".work_{name}", (0, 0) if name != "new" else None)
    held = os.open(parent / ".work_locked", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    prepare(folder, Options(4), parent)
    os.close(held)
    assert {p.name for p in parent.glob(".*")} == {".work_new", ".work_locked"}


def test_a_second_preparation_waits(
    tmp_path: Path, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "in", {f"{i}.png": image(i) for i in range(3)})
    true, calls, inside, go = convert.convert, [], threading.Event(), threading.Event()

    def slow(content: bytes, options: Options) -> convert.Picture:
        calls.append(content)
        inside.set()
        go.wait(10)
        return true(content, options)

    monkeypatch.setattr(convert, "convert", slow)
    found: list[Prepared] = []
    threads = [
        threading.Thread(target=lambda: found.append(prepare(folder, Options(4), parent)))
        for _ in range(2)
    ]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    time.sleep(0.1)
    go.set()
    for thread in threads:
        thread.join(10)
    assert len(calls) == 3
    assert found[0] == found[1]


def test_blocks_and_their_order(
    tmp_path: Path, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "in", {f"{i}.png": image(i) for i in range(10)})
    expected = prepare(folder, Options(4), tmp_path / "at once")
    small_pieces(monkeypatch)
    monkeypatch.setattr(gather, "BLOCK_BYTES", 4 * 4 * 4 * 3)
    found = prepare(folder, Options(4), parent)
    assert equal(arrays(found), arrays(expected))
    assert card(found)["sha256"] == card(expected)["sha256"]


def test_pieces_are_small_enough_for_memory_and_workers() -> None:
    assert pieces.length(10**6, 64) == 512
    assert pieces.length(10**6, 1024) == 21
    assert pieces.length(10**6, 4096) == 1
    assert pieces.length(6400, 64) == 100
    assert pieces.length(10, 64) == 32


# A decoder that ends the process, in every process that has this file on its path.
CRASH = """import os
import signal
from PIL import Image

true = Image.open


def open(file, *given, **named):
    content = file.getvalue()
    if content.endswith(b"crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if content.endswith(b"memory"):
        raise MemoryError
    return true(file, *given, **named)


Image.open = open
"""


def test_a_decoder_that_dies_costs_its_picture(
    tmp_path: Path, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "path", {"sitecustomize.py": CRASH.encode()})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.setattr(module, "FEW", 0)
    small_pieces(monkeypatch)
    ends = {1: b"crash", 4: b"memory", 5: b"crash"}
    files = {f"{i}.png": image(i) + ends.get(i, b"") for i in range(7)}
    found = prepare(write(tmp_path / "in", files), Options(4), parent, workers=1)
    died = "the decoder ended with signal 11"
    assert found.report["refused"] == {
        "1.png": died,
        "4.png": "needs too much memory",
        "5.png": died,
    }
    assert found.report["taken"] == 4


def test_a_worker_that_cannot_write(
    tmp_path: Path, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import os\ndef full(*given):\n    raise OSError(28, 'full', 'somewhere')\n"
    write(tmp_path / "path", {"sitecustomize.py": f"{code}os.replace = full\n".encode()})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.setattr(module, "FEW", 0)
    folder = write(tmp_path / "in", {"a.png": image(0)})
    with pytest.raises(OSError, match="No space left on device: 'somewhere'"):
        prepare(folder, Options(4), parent, workers=1)


def test_a_worker_ends_with_its_parent(tmp_path: Path) -> None:
    write(tmp_path / "in", {"a.png": image(0)})
    listing = module.entries.listed(tmp_path / "in")
    (tmp_path / "work").mkdir()
    pieces.write_job(tmp_path / "work", listing, Options(4))
    job = json.loads((tmp_path / "work" / pieces.JOB).read_text())
    job[3] = 1  # some other parent
    pieces.write_json(tmp_path / "work" / pieces.JOB, job)
    process = workers._start(tmp_path / "work", 0)
    assert process.wait(60) == 0
    assert not pieces.is_done(tmp_path / "work", 0)


def test_a_worker_makes_the_pieces_that_nobody_has_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pieces(monkeypatch)
    write(tmp_path / "in", {f"{i}.png": image(i) for i in range(7)})
    work = tmp_path / "work"
    work.mkdir()
    count = pieces.write_job(work, module.entries.listed(tmp_path / "in"), Options(4))

    def done() -> set[int]:
        assert workers._start(work, 0).wait(60) == 0
        return {number for number in range(count) if pieces.is_done(work, number)}

    with pieces.claims(work) as claimed:
        assert claimed(1)
        assert done() == set(range(count)) - {1}
    assert done() == set(range(count))


def test_a_worker_needs_no_jax() -> None:
    code = "import sys, latentgen.data.pictures.worker; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert {"jax", "flax", "scipy", "absl"}.isdisjoint(done.stdout.split())


@pytest.mark.long
def test_two_workers_do_as_none(tmp_path: Path, parent: Path) -> None:
    files = {f"{i % 3}/{i}.png": image(i) for i in range(1100)} | {"0/x.png": b"words"}
    folder = write(tmp_path / "in", files)
    two = prepare(folder, Options(4), parent, workers=2)
    none = prepare(folder, Options(4), tmp_path / "none", workers=0)
    assert two.report == none.report
    assert equal(arrays(two), arrays(none))
