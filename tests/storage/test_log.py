import io
import json
import struct

import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from latentgen.core.errors import BadInput
from latentgen.storage import log
from latentgen.training.pictures import png


def write(folder, steps, resume_step=0):
    folder.mkdir(exist_ok=True)
    lines = log.Log(folder, resume_step)
    for step in steps:
        lines.write(step, step / 10, "train", {"loss": np.float32(step) / 3})
    lines.close()
    return folder / "metrics.jsonl"


def test_a_line_is_an_object_and_float32_survives(tmp_path):
    values = np.random.default_rng(0).standard_normal(50).astype(np.float32)
    lines = log.Log(tmp_path, 0)
    for step, value in enumerate(values):
        lines.write(step, 0.5, "train", {"loss": jnp.asarray(value), "n": 3})
    (first, *_) = (tmp_path / "metrics.jsonl").read_text().splitlines()  # flushed before close
    assert json.loads(first) == {
        "step": 0,
        "seconds": 0.5,
        "split": "train",
        "loss": float(values[0]),
        "n": 3.0,
    }
    lines.close()
    read = np.array([row["loss"] for row in log.read(tmp_path / "metrics.jsonl")])
    np.testing.assert_array_equal(read.astype(np.float32), values)


def test_what_is_not_finite_is_still_json_and_comes_back(tmp_path):
    lines = log.Log(tmp_path, 0)
    lines.write(1, 0.0, "train", {"a": np.nan, "b": np.float32(np.inf), "c": -np.inf, "d": 1e30})
    lines.close()
    text = (tmp_path / "metrics.jsonl").read_text()
    row = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert [row[k] for k in "abcd"] == ["nan", "inf", "-inf", 1e30]
    (row,) = log.read(tmp_path / "metrics.jsonl")
    assert np.isnan(row["a"])
    assert (row["b"], row["c"], row["split"]) == (np.inf, -np.inf, "train")


def test_resuming_cuts_back_to_the_checkpoint(tmp_path):
    whole = write(tmp_path / "whole", range(1, 9)).read_bytes()
    file = write(tmp_path / "cut", range(1, 7))
    file.write_bytes(file.read_bytes() + b'{"step": 7, "seco')
    log.Log(tmp_path / "cut", 4).close()
    assert [row["step"] for row in log.read(file)] == [1, 2, 3, 4]
    write(tmp_path / "cut", range(5, 9), resume_step=4)
    assert file.read_bytes() == whole
    assert {p.name for p in (tmp_path / "cut").iterdir()} == {"metrics.jsonl", "tensorboard"}


@pytest.mark.parametrize("size", range(1, 12))
def test_a_line_torn_anywhere_goes(tmp_path, size):
    file = write(tmp_path, [1, 2])
    whole = file.read_bytes()
    file.write_bytes(whole[:-size])
    assert [row["step"] for row in log.read(file)] == [1]
    write(tmp_path, [2], resume_step=1)
    assert file.read_bytes() == whole


def test_starting_again_from_nothing_keeps_nothing(tmp_path):
    file = write(tmp_path, [0, 1, 2])
    log.Log(tmp_path, 0).close()
    assert file.read_bytes() == b""


@pytest.mark.parametrize("damage", [b'"step\0: 2', b'"spet": 2', b'"step": "2"'])
def test_a_damaged_line_inside_is_named_and_kept_aside(tmp_path, damage):
    file = write(tmp_path, [1, 2, 3])
    _, _, *lines = content = file.read_bytes().replace(b'"step": 2', damage).splitlines(True)
    file.write_bytes(b"".join(content))
    with pytest.raises(BadInput, match=r"metrics\.jsonl' line 2 "):
        log.figures(file)
    damaged = []
    assert [line["step"] for line in log.figures(file, damaged)] == [1, 3]
    (sentence,) = damaged
    assert "line 2 " in sentence
    record = log.Log(tmp_path, 3)  # the run goes on
    record.close()
    (lost,) = record.lost
    assert "1 lines are damaged; as it was found it is in metrics.jsonl.damaged" in lost
    assert file.read_bytes() == content[0] + lines[0]
    assert (tmp_path / log.DAMAGED).read_bytes() == b"".join(content)
    log.Log(tmp_path, 3, {"lines": 3, "sha256": "of all three"}).close()  # killed before it saved
    assert (tmp_path / log.DAMAGED).read_bytes() == b"".join(content)


def events(folder):
    """(tag or None, step, value) of each event, by the record format: length, crc, bytes, crc."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted((folder / "tensorboard").iterdir()):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            found += [(value.tag, event.step, value) for value in event.summary.value]
            if event.HasField("session_log"):
                found.append(("session", event.step, event.session_log.status))
    return found


def test_tensorboard_gets_scalars_and_pictures_and_is_purged_on_resume(tmp_path):
    lines = log.Log(tmp_path, 0)
    lines.write(1, 0.0, "validation", {"loss": 0.25})
    encoded = png(np.full((4, 6, 3), 7, np.uint8))
    lines.image(1, "samples", encoded, (4, 6, 3))
    lines.close()
    found = {tag: (step, value) for tag, step, value in events(tmp_path)}
    assert found["validation/loss"][0] == 1
    assert found["validation/loss"][1].simple_value == 0.25
    picture = found["samples"][1].image
    assert (picture.height, picture.width, picture.colorspace) == (4, 6, 3)
    assert picture.encoded_image_string == encoded
    shown = np.asarray(PIL.Image.open(io.BytesIO(encoded)))
    np.testing.assert_array_equal(shown, np.full((4, 6, 3), 7))

    write(tmp_path, [6], resume_step=5)
    assert ("session", 6, 1) in events(tmp_path)  # 1 = START: steps from 6 on begin anew


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_elsewhere_is_plain_lines():
    stream = io.StringIO()
    progress = log.Progress(2000, start=100, stream=stream)
    progress.update(200, {"loss": jnp.float32(1.23456)})
    progress.say("a word")
    progress.update(300, {})
    progress.close()
    first, word, last = stream.getvalue().splitlines()
    assert first.startswith("step 200/2000  ")
    assert first.endswith(" s  loss=1.235")
    assert word == "a word"
    assert last.startswith("step 300/2000  ")
    assert "\r" not in stream.getvalue()


def test_the_rate_leaves_out_the_first_stretch_which_compiles(monkeypatch):
    now = iter([10.0, 15.0, 17.0, 20.0])
    monkeypatch.setattr(log.time, "perf_counter", lambda: next(now))
    stream = io.StringIO()
    progress = log.Progress(1000, stream=stream)
    progress.update(100, {})
    progress.update(200, {})
    progress.update(350, {})
    assert stream.getvalue().splitlines() == [
        "step 100/1000  5.0 s",
        "step 200/1000  7.0 s  50 steps/s  16 s left",
        "step 350/1000  10.0 s  50 steps/s  13 s left",
    ]


def test_progress_on_a_terminal_is_a_bar():
    stream = Terminal()
    progress = log.Progress(2000, start=100, stream=stream)
    progress.update(2000, {"loss": 1.5})
    progress.say("a word")
    progress.close()
    assert "2000/2000" in stream.getvalue()
    assert "loss=1.5" in stream.getvalue()
    assert "\ra word\n" in stream.getvalue().replace(" ", "").replace("aword", "a word")


def test_a_line_that_fails_half_way_is_cut_off_again(tmp_path, monkeypatch):
    lines = log.Log(tmp_path, 0)
    lines.write(1, 0.1, "train", {"loss": 1.0})
    before = (tmp_path / "metrics.jsonl").read_bytes()

    def half(file, piece):
        file.write(piece[: len(piece) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(log.workdir, "write_all", half)
        with pytest.raises(OSError, match="No space"):
            lines.write(2, 0.2, "train", {"loss": 2.0})
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    lines.write(2, 0.2, "train", {"loss": 2.0})
    lines.close()
    assert [row["step"] for row in log.read(tmp_path / "metrics.jsonl")] == [1, 2]
