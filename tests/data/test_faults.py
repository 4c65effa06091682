"""A data fault is reported in a line, leaves no files, and the next attempt succeeds."""

import gzip
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_set

from experiments import vae
from latentgen.core.errors import BadInput
from latentgen.data import builders, folders, originals, sources
from latentgen.sweeps.plan import changed
from latentgen.training import setup
from latentgen.training.run_writer import RunWriter

NAME = "fashion_mnist"
FAULTY = "t10k-images-idx3-ubyte.gz"


def load(data_dir: Path, manual: Path | None = None) -> sources.DataSet:
    return sources.load(NAME, data_dir=data_dir, manual_dir=manual, validation=20)


def check(dataset: sources.DataSet, data: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    train = [dataset.splits[split] for split in ("train", "validation")]
    np.testing.assert_array_equal(np.concatenate([e.x for e in train]), data["train"][0])
    np.testing.assert_array_equal(np.concatenate([e.label for e in train]), data["train"][1])
    np.testing.assert_array_equal(dataset.splits["test"].x, data["test"][0])
    np.testing.assert_array_equal(dataset.splits["test"].label, data["test"][1])


def refused(data_dir: Path, manual: Path | None = None) -> str:
    with pytest.raises(BadInput) as caught:
        load(data_dir, manual)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# the download


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder; one file of it with a fault."""

    folder: Path
    fault = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.released = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        body = (self.server.folder / name).read_bytes()
        fault = self.server.fault if name == FAULTY else ""
        if fault == "not found":
            self.send_error(404)
            return
        half = len(body) // 2
        sent = {
            "closes": body[:half],
            "hangs": body[:half],
            "drips": body[:half],
            "ends early": body[:half],
            "flipped": body[:half] + bytes([body[half] ^ 1]) + body[half + 1 :],
            "goes on": body + bytes(100_000),
            "page": b"<html>Please log in.</html>",
        }.get(fault, body)
        self.send_response(200)
        if fault not in ("ends early", "goes on"):
            announced = body if fault in ("closes", "hangs", "drips") else sent
            self.send_header("Content-Length", str(len(announced)))
        self.end_headers()
        try:
            self.wfile.write(sent)
            if fault == "hangs":
                self.server.released.wait(60)
            while fault == "drips" and not self.server.released.wait(0.05):
                self.wfile.write(b"x")
        except OSError:  # the other side has closed the connection
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tiny, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(builders, "SILENT", 0.5)
    with Server() as server:
        server.folder = tiny[0]
        base = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setitem(originals.ORIGINALS, NAME, tiny_set.known(tiny[0], base))
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("closes", "the connection ended after 3939 bytes"),
        ("ends early", "the connection ended after"),
        ("hangs", "timed out"),
        ("drips", "slower than"),
        ("flipped", "wrong checksum"),
        ("goes on", "more than"),
        ("page", "the connection ended after 27 bytes"),
        ("not found", "404"),
    ],
)
def test_a_failed_download_leaves_nothing_and_the_next_succeeds(
    fault: str, said: str, tiny, server: Server, tmp_path: Path
) -> None:
    before = tiny_set.everything(tmp_path)
    server.fault = fault
    began = time.monotonic()
    message = refused(tmp_path / "data")
    assert time.monotonic() - began < 10
    size, digest = (
        (tiny[0] / FAULTY).stat().st_size,
        tiny_set.sha256((tiny[0] / FAULTY).read_bytes()),
    )
    said = said.replace("3939", str(size // 2))
    for word in (FAULTY, said, f"wanted {size} bytes", digest, "Try again", "--manual_dir"):
        assert word in message, message
    assert tiny_set.everything(tmp_path) == before
    server.fault = ""
    dataset = load(tmp_path / "data")
    assert dataset.origin == "download"
    check(dataset, tiny[1])


def test_a_server_that_is_not_there(server: Server, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(
        originals.ORIGINALS, NAME, tiny_set.known(server.folder, "http://127.0.0.1:9/")
    )
    assert "train-images-idx3-ubyte.gz: " in refused(tmp_path / "data")
    assert not (tmp_path / "data").exists()


# original files of the wrong content


def content(folder: Path, name: str) -> bytes:
    return gzip.decompress((folder / name).read_bytes())


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("truncated", "10x28x28 bytes, of which 7839 are there"),
        ("magic", "no IDX file of bytes (it begins with 00000803)"),
        ("page", "no IDX file of bytes (it begins with 3c68746d)"),
        ("other labels", "the train-labels-idx1-ubyte.gz of fashion_mnist"),
        ("labels that do not match", "an IDX file of 9 bytes, of which 9 are there"),
    ],
)
def test_a_wrong_original_is_told_by_what_it_is(
    fault: str, said: str, tiny, tmp_path: Path
) -> None:
    folder, data = tiny
    images, labels = FAULTY, "t10k-labels-idx1-ubyte.gz"
    name = labels if "labels" in fault else images
    good = (folder / name).read_bytes()
    wrong = {
        "truncated": content(folder, images)[:-1],
        "magic": b"\0\0\x08\x09" + content(folder, images)[4:],
        "page": b"<html>",
        "other labels": content(folder, "train-labels-idx1-ubyte.gz"),
        "labels that do not match": tiny_set.idx(data["test"][1][:9]),
    }[fault]
    (folder / name).write_bytes(gzip.compress(wrong))
    before = tiny_set.everything(tmp_path)
    message = refused(tmp_path / "data", folder)
    original = originals.ORIGINALS[NAME]["test"]["labels" in fault]
    said = said.replace("00000803", "00000809")
    for word in (str(folder / name), "wrong checksum", tiny_set.sha256(wrong), said, original.url):
        assert word in message, message
    assert original.sha256 in message
    assert tiny_set.everything(tmp_path) == before
    (folder / name).write_bytes(good)
    check(load(tmp_path / "data", folder), data)


# processes

PREPARE = """
import sys, time
from pathlib import Path
import tiny_set
from latentgen.data import builders, sources
from latentgen.training import setup
folder, data_dir, sleeps = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "sleeps"
tiny_set.put_in_place(folder)
generate = builders.LatentgenFashionMnist._generate_examples
def slow(self, images, labels):
    for i, example in enumerate(generate(self, images, labels)):
        if i == 5:
            print("half", file=sys.__stdout__, flush=True)  # TFDS's chatter is dropped
            time.sleep(60)
        yield example
if sleeps:
    builders.LatentgenFashionMnist._generate_examples = slow
print("ready", flush=True)
sys.stdin.readline()
found = sources.load("fashion_mnist", data_dir=data_dir, manual_dir=folder, validation=20)
print(sources.identity(found, "unit")["sha256"], flush=True)
"""


def start(folder: Path, data_dir: Path, what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PREPARE, str(folder), str(data_dir), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_two_prepare_at_once_and_a_third_is_killed(tiny, tmp_path: Path) -> None:
    folder, data = tiny
    data_dir = tmp_path / "data"
    killed, racer = processes = [start(folder, data_dir, what) for what in ("sleeps", "goes")]
    try:
        assert [line(process) for process in processes] == ["ready"] * 2
        go(killed)
        assert line(killed) == "half"
        (held,) = data_dir.glob(".latentgen_*")
        go(racer)
        dataset = load(data_dir, folder)  # at the same time
        other = line(racer)
        assert racer.wait() == 0
        assert held.exists()  # its process is running
    finally:
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    assert held.exists()
    for each in (dataset, load(data_dir)):
        check(each, data)
        assert sources.identity(each, "unit")["sha256"] == other
    # the next one that prepares removes the files of the killed one
    shutil.rmtree(data_dir / "latentgen_fashion_mnist")
    check(load(data_dir, folder), data)
    assert not list(data_dir.rglob(".latentgen_*"))


def test_a_set_that_was_half_copied_here(tiny, tmp_path: Path) -> None:
    folder, data = tiny
    data_dir = tmp_path / "data"
    load(data_dir, folder)
    prepared = data_dir / "latentgen_fashion_mnist" / "1.0.0"
    (prepared / "dataset_info.json").unlink()
    message = refused(data_dir, folder)
    assert str(prepared) in message
    assert "remove it" in message
    shutil.rmtree(prepared)
    check(load(data_dir, folder), data)


# prepared sets


def flips(rng: np.random.Generator, raw: bytes, n: int) -> Iterator[bytes]:
    """The file with one bit flipped, at a byte that is used."""
    used = np.flatnonzero(np.frombuffer(raw, np.uint8))
    for at in rng.choice(used, n):
        damaged = bytearray(raw)
        damaged[at] ^= 1 << rng.integers(8)
        yield bytes(damaged)


def damages(rng: np.random.Generator, raw: bytes, n: int) -> Iterator[bytes | None]:
    yield from flips(rng, raw, n)
    yield from (raw[:cut] for cut in (0, 1, len(raw) // 2, len(raw) - 1))
    yield bytes(len(raw))
    yield None  # the file is missing


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_prepared_set_is_refused_or_the_same(tiny, tmp_path: Path) -> None:
    """Flip bits in 200 places of the records and in 100 of their metadata, and damage more."""
    folder, data = tiny
    data_dir = tmp_path / "data"
    load(data_dir, folder)
    prepared = data_dir / "latentgen_fashion_mnist" / "1.0.0"
    rng, refusals, silent = np.random.default_rng(0), [], []
    for path in sorted(prepared.iterdir()):
        raw = path.read_bytes()
        for damaged in damages(rng, raw, 100 if "array_record" in path.name else 50):
            if damaged is None:
                path.unlink()
            else:
                path.write_bytes(damaged)
            shutil.rmtree(data_dir / "latentgen_arrays", ignore_errors=True)
            try:
                check(load(data_dir, tmp_path / "none"), data)
            except BadInput as error:
                refusals.append(str(error))
            except AssertionError as error:
                silent.append((path.name, damaged and len(damaged), str(error)[:300]))
            path.write_bytes(raw)
    assert silent == []
    assert len(refusals) > 200
    for message in refusals:  # a set that is invalid or not in use is prepared anew
        assert f"{prepared}" in message or "--manual_dir" in message
        assert "\n" not in message
    assert sum("remove " in message for message in refusals) > 150
    shutil.rmtree(data_dir / "latentgen_arrays", ignore_errors=True)
    check(load(data_dir), data)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "a file is gone", "unsigned"])
def test_damaged_decoded_arrays_are_decoded_anew(damage: str, tiny, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    load(data_dir, tiny[0])
    (cached,) = data_dir.glob("latentgen_arrays/*/*/*/train_x.npy")
    raw = cached.read_bytes()
    if damage == "flipped":
        cached.write_bytes(raw[:-99] + bytes([raw[-99] ^ 1]) + raw[-98:])
    elif damage == "truncated":
        cached.write_bytes(raw[:-1])
    elif damage == "a file is gone":
        for kind in ("x", "label"):
            cached.with_name(f"test_{kind}.npy").unlink()
    else:
        cached.with_name(folders.DIGESTS).unlink()
    check(load(data_dir), tiny[1])
    check(load(data_dir), tiny[1])
    assert cached.read_bytes() == raw


def test_one_changed_pixel_is_noticed_on_resume(tiny, tmp_path: Path, monkeypatch) -> None:
    config = vae.get_config()
    config.data.update(name=NAME, validation=20)
    config.batch_size = 16
    plain, data_dir, folder = changed(config, {}), tmp_path / "data", tiny[0]

    def opened() -> None:
        run = setup.load(tmp_path / "run", plain, str(data_dir), str(folder))
        with RunWriter(run):
            pass

    opened()
    signed = json.loads((tmp_path / "run" / "data.json").read_text())
    opened()
    shutil.rmtree(data_dir / "latentgen_fashion_mnist")
    tiny_set.write(folder, changed=True)
    monkeypatch.setitem(originals.ORIGINALS, NAME, tiny_set.known(folder))
    with pytest.raises(BadInput, match=rf'other data: sha256: "{signed["sha256"]}" in') as caught:
        opened()
    assert "give it the data it began with" in str(caught.value)
    assert json.loads((tmp_path / "run" / "data.json").read_text()) == signed
