from pathlib import Path

import numpy as np
import pytest
import tiny_set

from latentgen.data import originals


@pytest.fixture
def tiny(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Fashion-MNIST shrunk: (folder of its originals, arrays)."""
    folder = tmp_path / "originals"
    data = tiny_set.write(folder)
    monkeypatch.setitem(originals.ORIGINALS, "fashion_mnist", tiny_set.known(folder))
    monkeypatch.setattr(originals, "DEBIAN", {})
    return folder, data
