"""Pictures made by Pillow, as files and as bytes."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def noise(width: int, height: int, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """An image of random values."""
    channels = len(Image.new(mode, (1, 1)).tobytes())  # bytes of a pixel
    x = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    return Image.frombytes(mode, (width, height), x.tobytes())


def encoded(image: Image.Image, format: str = "PNG", **how) -> bytes:
    """The content of a file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **how)
    return buffer.getvalue()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """Write name -> content into a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder
