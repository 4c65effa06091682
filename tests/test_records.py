"""A run that continues checks its record against its checkpoint, and its end against its config."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from small import config

from latentgen.core.errors import Stopped
from latentgen.storage import log
from latentgen.sweeps import folder
from latentgen.sweeps.plan import changed
from latentgen.training import setup, trainer

LINES = [
    {"step": step, "seconds": step / 3, "split": "train", "loss": 1 / step} for step in (1, 2, 3)
]


def written(place: Path) -> tuple[Path, dict]:
    """A record of three steps, and what a checkpoint after them knows of it."""
    record = log.Log(place, 0)
    for line in LINES:
        record.write(line["step"], line["seconds"], "train", {"loss": line["loss"]})
    record.close()
    return place / log.METRICS, record.stands


def first_line_lost(raw: bytes) -> bytes:
    return raw[raw.index(b"\n") + 1 :]


CHANGES: dict[str, tuple[Callable[[bytes], bytes | None], str]] = {
    "first line lost": (first_line_lost, "2 of 3 lines are left"),
    "emptied": (lambda raw: b"", "0 of 3 lines are left"),
    "gone": (lambda raw: None, "0 of 3 lines are left"),
    "cut": (lambda raw: raw[:-20], "2 of 3 lines are left"),
    "a step changed": (
        lambda raw: raw.replace(b'"step": 2', b'"step": 1'),
        "lines of it have been changed",
    ),
    "a later step": (lambda raw: raw.replace(b'"step": 2', b'"step": 8'), "2 of 3 lines are left"),
    "a value changed": (lambda raw: raw.replace(b"0.5", b"0.4"), "lines of it have been changed"),
    "no text": (lambda raw: raw.replace(b"train", b"tra\xffn", 1), "lines of it have been changed"),
    "a line too many": (lambda raw: raw + raw[: raw.index(b"\n") + 1], "4 of 3 lines are left"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_record_that_is_not_what_was_written_is_told(name: str, tmp_path: Path) -> None:
    file, said = written(tmp_path)
    change, words = CHANGES[name]
    raw = change(file.read_bytes())
    if raw is None:
        file.unlink()
    else:
        file.write_bytes(raw)
    record = log.Log(tmp_path, 3, said)
    (lost,) = record.lost
    assert f"metrics.jsonl is not what was written up to step 3: {words}" in lost
    if raw is not None:
        assert (tmp_path / log.DAMAGED).read_bytes() == raw
    # It stays told: the next checkpoint knows of it, and agrees with what is there now.
    record.write(4, 2.0, "train", {"loss": 0.1})
    record.close()
    again = log.Log(tmp_path, 4, record.stands)
    assert again.lost == [lost]
    again.close()


def test_a_sound_record_is_no_matter(tmp_path: Path) -> None:
    file, said = written(tmp_path)
    raw = file.read_bytes()
    for more in (b"", b'{"step": 4, "seconds": 2, "split": "train"}\n', b'{"step": 4, "sec'):
        file.write_bytes(raw + more)
        record = log.Log(tmp_path, 3, json.loads(json.dumps(said)))
        assert record.lost == []
        assert record.stands == said
        record.close()
        assert file.read_bytes() == raw
    for odd in (None, {}, {"lines": 3}, "x"):  # of a release before, or anybody's
        record = log.Log(tmp_path, 3, odd)
        assert record.lost == []
        record.close()


def test_any_flipped_bit_is_told_and_the_run_goes_on(tmp_path: Path) -> None:
    file, said = written(tmp_path)
    raw = file.read_bytes()
    for at in range(len(raw)):
        flipped = raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :]
        file.write_bytes(flipped)
        record = log.Log(tmp_path, 3, said)
        record.close()
        assert record.lost
        assert (tmp_path / log.DAMAGED).read_bytes() == flipped
        (tmp_path / log.DAMAGED).unlink()
        assert len(log.figures(file)) <= 3


@pytest.mark.long
def test_a_run_goes_on_with_an_incomplete_record_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = changed(config(), {})
    run = setup.load(tmp_path, plain, None, None)
    asked = iter([None, 15])
    monkeypatch.setattr(trainer.distributed, "signals", lambda: _signals(asked))
    with pytest.raises(Stopped):
        trainer.train(run)
    file = tmp_path / log.METRICS
    file.write_bytes(first_line_lost(file.read_bytes()))
    monkeypatch.undo()
    trainer.train(run)
    assert "warning: metrics.jsonl is not what was written up to step" in capsys.readouterr().err
    (lost,) = json.loads((tmp_path / setup.SUMMARY).read_text())["log_lost"]
    assert "lines are left" in lost


def _signals(asked):
    import contextlib

    return contextlib.nullcontext(lambda: next(asked, 15))


@pytest.mark.parametrize(
    "text",
    [
        *("", "garbage", "[]", "3", "{}", '{"steps": 39, "final": {}}'),
        *('{"steps": true, "final": {}}', '{"steps": 40}', '{"steps": 40, "final": 0}'),
        '{"steps": 40, "final": {"train": 0}}',
    ],
)
def test_garbage_is_no_end_of_a_run(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = changed(config(), {})
    (tmp_path / "config.json").write_text(json.dumps(plain))
    (tmp_path / setup.SUMMARY).write_text(text)
    assert not setup.finished(tmp_path, plain)
    assert "it is written anew" in capsys.readouterr().err
    assert folder.standing(tmp_path).status == "pending"
    (tmp_path / setup.SUMMARY).write_text(json.dumps({"steps": plain["steps"], "final": {}}))
    assert setup.finished(tmp_path, plain)
    assert folder.standing(tmp_path).status == "done"
