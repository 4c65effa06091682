"""Every mode that Pillow can give is converted by a stated rule or refused: never wrong pixels."""

import io
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from experiments import vae
from latentgen.configs.section import plain
from latentgen.core.errors import BadInput
from latentgen.data import images, sources
from latentgen.training import setup

SHAPE = (2, 3)
GREY = np.array([[0, 1, 100], [200, 254, 255]], np.uint8)
COLOUR = np.stack([GREY, 255 - GREY, np.roll(GREY, 1)], -1)
OPAQUE = np.full(SHAPE, 255, np.uint8)
SIXTEEN = np.array([[0, 255, 256], [4_660, 65_279, 65_535]], np.uint16)
PALETTE = Image.fromarray(COLOUR).quantize(6)


def encoded(image: Image.Image, form: str = "png", **how) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **how)
    return file.getvalue()


def with_alpha(x: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([x, alpha]), "LA" if x.ndim == 2 else "RGBA")


def in_three(x: np.ndarray) -> np.ndarray:
    return np.repeat(x[..., None], 3, -1)


@pytest.mark.parametrize(
    ("content", "one", "three"),
    [
        (encoded(Image.fromarray(GREY)), GREY[..., None], in_three(GREY)),
        (encoded(Image.fromarray(COLOUR)), None, COLOUR),
        (encoded(Image.fromarray(in_three(GREY))), GREY[..., None], in_three(GREY)),
        (encoded(PALETTE), None, np.asarray(PALETTE.convert("RGB"))),
        (
            encoded(Image.fromarray(GREY >= 128)),
            np.where(GREY >= 128, 255, 0)[..., None],
            in_three(np.where(GREY >= 128, 255, 0)),
        ),
        (
            encoded(Image.fromarray(SIXTEEN)),
            (SIXTEEN // 256)[..., None],
            in_three(SIXTEEN // 256),
        ),
        (encoded(with_alpha(GREY, OPAQUE)), GREY[..., None], in_three(GREY)),
        (encoded(with_alpha(COLOUR, OPAQUE)), None, COLOUR),
        (encoded(with_alpha(COLOUR, GREY)), None, None),
        (encoded(with_alpha(GREY, GREY)), None, None),
        (encoded(Image.fromarray(COLOUR), transparency=tuple(COLOUR[0, 0].tolist())), None, None),
        (encoded(Image.fromarray(GREY), transparency=100), None, None),
        (encoded(PALETTE, transparency=0), None, None),
        (encoded(Image.fromarray(COLOUR).convert("CMYK"), "tiff"), None, None),
        (encoded(Image.fromarray(COLOUR).convert("YCbCr"), "tiff"), None, None),
        (encoded(Image.fromarray(COLOUR).convert("LAB"), "tiff"), None, None),
        (encoded(Image.fromarray(GREY.astype(np.int32)), "tiff"), None, None),
        (encoded(Image.fromarray(GREY.astype(np.float32)), "tiff"), None, None),
        (encoded(Image.fromarray(GREY[:1])), None, None),
        (
            encoded(
                Image.fromarray(GREY),
                save_all=True,
                append_images=[Image.fromarray(GREY.T.reshape(2, 3))],
            ),
            None,
            None,
        ),
        (encoded(Image.fromarray(COLOUR))[:-30], None, None),
        (b"", None, None),
    ],
)
def test_each_mode_by_its_rule_or_not_at_all(content, one, three):
    for channels, expected in ((1, one), (3, three)):
        if expected is None:
            with pytest.raises(ValueError, match=r"^it|^parts|^there"):
                images.decode(content, (*SHAPE, channels))
            continue
        x = images.decode(content, (*SHAPE, channels))
        assert x.dtype == np.uint8
        np.testing.assert_array_equal(x, expected)


def test_the_modes_are_all_that_pillow_knows():
    known = {*images.EIGHT, "I;16", "I"}
    refused = {"CMYK", "YCbCr", "LAB", "HSV", "F", "RGBX", "RGBa", "La"}
    assert {m for m in Image.MODES if not m.startswith(("I;16", "BGR"))} <= known | refused


def builder(contents, shape, labels=None):
    """A builder of a set of one split of these encoded images."""

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = "mixed"
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(shape=shape, encoding_format="png")}
            if labels is not None:
                features["label"] = tfds.features.ClassLabel(num_classes=3)
            features = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i, content in enumerate(contents):
                label = {} if labels is None else {"label": labels[i]}
                yield i, {"image": io.BytesIO(content), **label}

    return Builder


def prepare(folder, contents, shape=(*SHAPE, 3), labels=None) -> None:
    builder(contents, shape, labels)(data_dir=folder).download_and_prepare(
        file_format="array_record"
    )


PLAIN = encoded(Image.fromarray(COLOUR))
BAD = encoded(with_alpha(COLOUR, GREY))


def test_a_palette_in_a_set_has_its_colours(tmp_path):
    prepare(tmp_path, [PLAIN, encoded(PALETTE)])
    x = sources.load("mixed", data_dir=tmp_path, validation=0).splits["train"].x
    np.testing.assert_array_equal(x, [COLOUR, np.asarray(PALETTE.convert("RGB"))])


def test_a_refused_image_is_named(tmp_path):
    prepare(tmp_path, [PLAIN, PLAIN, BAD])
    place = tmp_path / "mixed" / "1.0.0"
    said = re.escape(f"name='mixed': example 2 of train in {place}: parts of it are transparent")
    with pytest.raises(BadInput, match=said):
        sources.load("mixed", data_dir=tmp_path, validation=0)


def test_advice_for_a_damaged_set_is_for_who_prepared_it(tmp_path):
    prepare(tmp_path, [PLAIN])
    info = tmp_path / "mixed" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text()[:-20])
    with pytest.raises(BadInput, match=r"is damaged .* whoever prepared this set must restore"):
        sources.load("mixed", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (None, "mixed has none;"),
        ([0, 0, 0], "mixed has none;"),
        ([0, 2, -1], "mixed has 1 without"),
    ],
)
def test_a_conditional_run_needs_labels(labels, said, tmp_path):
    prepare(tmp_path, [PLAIN] * 3, labels=labels)
    config = vae.get_config()
    config.data.update(name="mixed", validation=1)
    config.method.classes = 3
    with pytest.raises(BadInput, match=f"config.method.classes=3 needs a label .* {said}"):
        setup.load(tmp_path / "run", plain(config.to_dict()), str(tmp_path), None)
