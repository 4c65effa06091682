import numpy as np
import pytest

from latentgen.core.keys import run_key
from latentgen.data import streamed
from latentgen.data.dataset import Examples
from latentgen.data.pipeline import feed, indices
from latentgen.data.preprocess import PREPROCESS

KEY = run_key(3)
IMAGES = np.random.default_rng(0).integers(0, 256, (23, 4, 3, 1), dtype=np.uint8)


@pytest.mark.parametrize("part", [1, 250, 2**23])  # bytes; a step has 120
@pytest.mark.parametrize("contiguous", [True, False])
def test_streamed_rows_are_those_of_their_indices(part, contiguous, monkeypatch):
    """However many steps are read at a time, and wherever the examples lie in memory."""
    monkeypatch.setattr(streamed, "PART", part)
    examples = Examples(IMAGES, np.arange(23, dtype=np.int32))
    if not contiguous:
        examples = examples._replace(x=examples.x[:, ::-1], label=examples.label[::-1])
    f = feed(examples, PREPROCESS["unit"], 5, 2, KEY, stream_above=0)
    for first, steps in ((0, 5), (5, 5), (10, 3), (13, 3), (2, 1)):
        i = indices(KEY, 23, 5, 2)(first, steps)
        rows = f.rows(first, steps)
        np.testing.assert_array_equal(rows.x, examples.x[i])
        np.testing.assert_array_equal(rows.label, examples.label[i])
        assert rows.factors is None
