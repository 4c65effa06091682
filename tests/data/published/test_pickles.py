import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from latentgen.core.errors import BadInput
from latentgen.data.published import pickles

PATH = Path("data_batch_1")


def _load(content):
    return pickles.load(PATH, io.BytesIO(content))


def _refused(content):
    with pytest.raises(BadInput) as info:
        _load(content)
    assert "\n" not in str(info.value)
    assert str(info.value).startswith("data_batch_1 is truncated, damaged or another file: ")
    return str(info.value)


class _Executes:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_executes_something_is_refused_and_does_not(tmp_path, protocol):
    content = pickle.dumps({"data": _Executes(tmp_path / "made")}, protocol)
    assert "asks for posix.mkdir" in _refused(content)
    assert not (tmp_path / "made").exists()
    pickle.loads(content)  # it would
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cbuiltins\ngetattr\n.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy\nndarray.tofile\n.",
        b"cnumpy.core.multiarray\nfromfile\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"ios\nsystem\n(S'true'\n.",
        b"P1\n.",
    ],
    ids=["eval", "getattr", "load", "attribute", "fromfile", "stack", "instance", "persistent"],
)
def test_other_names_are_refused(content):
    _refused(content)


@pytest.mark.parametrize("name", ["numpy\nndarray", "numpy\ndtype"])
@pytest.mark.parametrize("state", [b"}S'a'\nI1\ns", b"(N}S'a'\nI1\nst"])
def test_the_stand_ins_themselves_cannot_be_changed(name, state):
    before = dict(vars(pickles._Array)), dict(vars(pickles._DType))
    _refused(b"(dS'data'\nc" + name.encode() + b"\n" + state + b"bs.")
    assert (dict(vars(pickles._Array)), dict(vars(pickles._DType))) == before


def test_arrays_of_objects_are_refused():
    content = pickle.dumps({"data": np.array([{}], object)}, 3)
    assert "not of bytes" in _refused(content)


@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"no pickle", b"I1\n.", b"(lI1\na."])
def test_what_is_no_pickled_dict_is_refused(content):
    _refused(content)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_either_order_are_what_numpy_reads(order):
    x = np.asarray(np.arange(6, dtype=np.uint8).reshape(2, 3), order=order)
    found = _load(pickle.dumps({"data": x}, 3))
    np.testing.assert_array_equal(found["data"], x)
