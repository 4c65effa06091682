"""Many devices: the placement of arrays, the communication, and equal results."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from latentgen.core.errors import BadInput
from latentgen.core.keys import run_key
from latentgen.core.split import gather_params, shard_examples
from latentgen.data.dataset import Examples
from latentgen.data.pipeline import Placement, feed
from latentgen.data.preprocess import PREPROCESS
from latentgen.training import mesh

TESTS = Path(__file__).parents[1]
TOLERANCE = 2e-5  # of float32 sums in another order, after three steps


@pytest.fixture(scope="module")
def answers() -> dict:
    """The output of on_devices.py."""
    env = {k: v for k, v in os.environ.items() if k != "JAX_DISABLE_MOST_OPTIMIZATIONS"} | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent))),
    }
    done = subprocess.run(
        [sys.executable, str(TESTS / "training" / "on_devices.py")],
        **dict(env=env, capture_output=True, text=True, timeout=240),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def said(answers: dict, setting: str) -> list[tuple[str, list]]:
    """(kind, shapes) of each collective in a step."""
    return [(kind, shapes) for kind, shapes in answers[setting]["collectives"]]


def kernels(found: list[tuple[str, list]]) -> list[list[int]]:
    return sorted(sorted(shape) for _, shapes in found for shape in shapes if len(shape) == 2)


@pytest.mark.long
@pytest.mark.parametrize(
    ("setting", "turns"),
    [("vae:iwae none 8 1 streamed", 1), ("gan none 8 1 resident", 2)],
)
def test_a_turn_takes_one_all_reduce(answers: dict, setting: str, turns: int) -> None:
    """Gradients and metrics share one all-reduce; devices exchange nothing else.

    This also holds with many codes of each example.
    """
    found = said(answers, setting)
    assert [kind for kind, _ in found] == ["all-reduce"] * turns
    assert all(len(kernels([one])) >= 2 for one in found)
    assert all(len(shape) <= 2 for _, shapes in found for shape in shapes)  # no images


@pytest.mark.long
def test_batch_norm_adds_its_means_and_nothing_else(answers: dict) -> None:
    found, plain = (said(answers, f"gan {norm} 8 1 resident") for norm in ("batch", "none"))
    assert {kind for kind, _ in found} == {"all-reduce"}
    assert len(found) > len(plain)
    assert kernels(found) == kernels(plain)
    assert all(len(shape) <= 2 for _, shapes in found for shape in shapes)


@pytest.mark.long
def test_split_parameters_are_gathered_and_examples_are_not(answers: dict) -> None:
    found, plain = (said(answers, f"gan none 8 {fsdp} resident") for fsdp in (2, 1))
    gathered = [(kind, shapes) for kind, shapes in found if kind == "all-gather"]
    assert kernels(gathered)
    assert all(len(shape) == 2 for _, shapes in gathered for shape in shapes)
    assert all(shape in kernels(plain) for shape in kernels(gathered))
    assert {kind for kind, _ in found} <= {"all-gather", "all-reduce", "reduce-scatter"}


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("gan batch", "8 1 resident"),
        ("gan batch", "4 4 streamed"),
        ("vae:iwae none", "8 1 streamed"),
    ],
)
def test_devices_change_no_result(answers: dict, name: str, setting: str) -> None:
    """A GAN with batch norm in both networks: its means are those of the global batch."""
    one, many = answers[f"{name} 1 1 resident"], answers[f"{name} {setting}"]
    assert many["fine"]
    assert one["metrics"].keys() == many["metrics"].keys()
    for name, values in one["metrics"].items():
        np.testing.assert_allclose(many["metrics"][name], values, TOLERANCE, TOLERANCE)
    for a, b in zip(one["state"], many["state"], strict=True):
        np.testing.assert_allclose(b, a, 0, 1e-3)  # Adam's first steps have the gradient's sign


@pytest.mark.long
def test_the_state_stays_where_it_is_and_gives_its_memory(answers: dict) -> None:
    for setting, found in answers.items():
        assert found["stays"], setting
        assert found["donated"], setting
        assert (found["split"] > 0) == (setting.split()[3] != "1"), setting
    held = {setting: found["held"] for setting, found in answers.items()}
    assert held["gan batch 8 1 resident"] == held["gan batch 1 1 resident"]
    assert held["gan batch 4 4 streamed"] < held["gan batch 8 1 resident"] / 2
    assert held["gan none 8 2 resident"] < held["gan none 8 1 resident"]


def grid(data: int, fsdp: int) -> AbstractMesh:
    return AbstractMesh((data, fsdp), (mesh.DATA, mesh.FSDP))


@pytest.mark.parametrize(
    ("fsdp", "shape", "spec"),
    [
        (1, (1024, 1024), ()),
        (2, (16, 16), ()),  # small
        (2, (1024, 4096), (None, "fsdp")),
        (2, (4096, 1024), ("fsdp", None)),
        (4, (1023, 1022, 64), (None, None, "fsdp")),  # the largest that divides
        (4, (333, 333), ()),
        (2, (2**20,), ("fsdp",)),
        (2, (), ()),
    ],
)
def test_large_leaves_are_split_along_their_largest_axis(
    fsdp: int, shape: tuple[int, ...], spec: tuple
) -> None:
    assert mesh.spec(grid(2, fsdp), shape) == PartitionSpec(*spec)


def test_one_device_has_no_mesh_and_nothing_is_wrapped() -> None:
    assert mesh.make(1) is None
    assert mesh.placement(None, 7) == Placement()
    state = {"a": np.zeros(3)}
    assert mesh.local(state) is not None
    assert mesh.put_state(state, None) is state
    x = jax.numpy.zeros((4, 2))
    assert shard_examples(x) is x
    assert gather_params(state) is state


@pytest.mark.parametrize(
    ("devices", "fsdp", "words"), [(3, 1, "--devices=3 must be at most 1"), (1, 2, "--fsdp=2")]
)
def test_what_there_is_not_is_refused(devices: int, fsdp: int, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        mesh.make(devices, fsdp)


def test_a_batch_of_unequal_shares_is_refused() -> None:
    mesh.check_batch(grid(4, 2), 32)
    with pytest.raises(BadInput, match=r"config\.batch_size=36 must be a multiple of 8"):
        mesh.check_batch(grid(4, 2), 36)


class Noted(np.ndarray):
    """Examples of a streamed set that remember which were read; use `noted_view` to make one."""

    read: set[int]

    def __getitem__(self, indices):  # type: ignore[no-untyped-def]
        if isinstance(indices, np.ndarray):
            self.read |= set(indices.ravel().tolist())
        return np.asarray(self)[indices]


def noted_view(x: np.ndarray) -> Noted:
    """View of a copy that is not contiguous, so that rows are read by their indices."""
    view = np.repeat(x, 2, axis=1)[:, ::2].view(Noted)
    view.read = set()
    return view


def test_each_process_reads_only_its_own_rows() -> None:
    x = np.arange(64, dtype=np.uint8).reshape(64, 1)
    labels = np.arange(64, dtype=np.int32)
    parts, noted = [], []
    for part in (slice(None), slice(0, 4), slice(4, 8)):
        note = noted_view(x)
        rows = feed(
            *(Examples(note, labels), PREPROCESS["unit"], 8, 2, run_key(0), 0),
            Placement(part=part),
        ).rows(0, 2)  # 2 steps of 2 draws of 8: half of an epoch
        parts.append(np.asarray(rows.label))
        noted.append(set(parts[-1].ravel().tolist()))
        np.testing.assert_array_equal(rows.x[..., 0], rows.label)
        assert noted[-1] <= note.read
    np.testing.assert_array_equal(np.concatenate(parts[1:], axis=2), parts[0])
    assert noted[1].isdisjoint(noted[2])
    assert noted[1] | noted[2] == noted[0]
