"""The pixels of a converted picture are those of plain Pillow calls."""

import io
import struct
import zlib

import numpy as np
import pytest
from made_pictures import encoded, noise
from PIL import Image, ImageCms, ImageOps, features

from latentgen.core.errors import BadInput
from latentgen.data.pictures.convert import FILTERS, Options, Refused, _formats, check, convert


def pixels(content: bytes, size: int = 8, **options) -> np.ndarray:
    return convert(content, Options(size, **options)).pixels


@pytest.mark.parametrize("filter", sorted(FILTERS))
@pytest.mark.parametrize(("width", "height"), [(21, 16), (16, 21), (17, 17)])
def test_the_centre_square_is_resized_by_pillow(filter: str, width: int, height: int) -> None:
    image = noise(width, height)
    x, side = np.asarray(image), min(width, height)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(x[top : top + side, left : left + side])
    expected = square.resize((8, 8), Image.Resampling[filter.upper()])
    np.testing.assert_array_equal(pixels(encoded(image), filter=filter), np.asarray(expected))


def test_other_crops() -> None:
    image = noise(20, 10)
    stretched = image.resize((8, 8), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(pixels(encoded(image), crop="none"), np.asarray(stretched))
    fitted = np.asarray(image.resize((8, 4), Image.Resampling.LANCZOS))
    x = pixels(encoded(image), crop="pad", background="#010203")
    np.testing.assert_array_equal(x[2:6], fitted)
    assert (x[[0, 1, 6, 7]] == [1, 2, 3]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation: int) -> None:
    image = noise(9, 8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(image, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    expected = upright.resize((8, 8), Image.Resampling.LANCZOS)
    found = convert(content, Options(8, crop="none"))
    assert (found.width, found.height) == ((8, 9) if orientation > 4 else (9, 8))
    np.testing.assert_array_equal(found.pixels, np.asarray(expected))


def test_orientation_of_a_tiff_is_applied_once() -> None:
    image = noise(8, 8)
    x = pixels(encoded(image, "TIFF", tiffinfo={274: 6}))
    np.testing.assert_array_equal(x, np.rot90(np.asarray(image), -1))


def test_damaged_exif_is_ignored() -> None:
    image = noise(8, 8)
    x = pixels(encoded(image, exif=b"Exif\0\0nonsense"))
    np.testing.assert_array_equal(x, np.asarray(image))


def test_alpha_lies_on_the_background() -> None:
    image = noise(8, 8, mode="RGBA")
    x = np.asarray(image).astype(np.float64)
    alpha = x[..., 3:] / 255
    expected = alpha * x[..., :3] + (1 - alpha) * np.array([0, 0, 255])
    found = pixels(encoded(image), background="blue")
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA"])
def test_modes_of_grey_and_palettes(mode: str) -> None:
    image = noise(8, 8).convert("1" if mode == "1" else "L").convert(mode)
    format = "TIFF" if mode == "PA" else "PNG"
    if mode == "PA":  # no format is saved in this mode
        image = image.convert("RGBA")
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(pixels(encoded(image, format)), expected)


def test_transparent_colours() -> None:
    image = Image.new("RGB", (8, 8), (9, 8, 7))
    content = encoded(image, transparency=(9, 8, 7))
    assert (pixels(content, background="#102030") == [16, 32, 48]).all()
    grey = Image.new("L", (8, 8), 9)
    assert (pixels(encoded(grey, transparency=9)) == 255).all()
    assert (pixels(encoded(grey.convert("P"), "GIF", transparency=9)) == 255).all()


def test_cmyk_and_ycbcr() -> None:
    image = noise(8, 8, mode="CMYK")
    np.testing.assert_array_equal(pixels(encoded(image, "TIFF")), np.asarray(image.convert("RGB")))
    content = encoded(noise(8, 8), "JPEG", quality=95)
    np.testing.assert_array_equal(pixels(content), np.asarray(Image.open(io.BytesIO(content))))


def test_lab_of_a_grey_is_that_grey() -> None:
    lab = Image.frombytes("LAB", (8, 8), bytes([128, 0, 0]) * 64)
    x = pixels(encoded(lab, "TIFF")).astype(int)
    assert np.abs(x - 119).max() <= 2  # L* = 50.2 is the sRGB value 119


def test_sixteen_bits_become_their_upper_byte() -> None:
    x = np.random.default_rng(0).integers(0, 2**16, (8, 8)).astype(np.uint16)
    expected = np.repeat((x >> 8).astype(np.uint8)[..., None], 3, axis=-1)
    for format in ("PNG", "TIFF"):
        found = pixels(encoded(Image.fromarray(x), format))
        np.testing.assert_array_equal(found, expected)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + crc


def big_endian_png(x: np.ndarray, colour: int, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", x.shape[1], x.shape[0], 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in x)
    chunks = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b"")


def test_sixteen_bits_of_colour() -> None:
    x = np.random.default_rng(0).integers(0, 2**16, (8, 8, 3))
    np.testing.assert_array_equal(pixels(big_endian_png(x, 2)), x >> 8)


def test_a_transparent_grey_of_sixteen_bits() -> None:
    x = np.full((8, 8), 3000)
    x[0, 0] = 4000
    found = pixels(big_endian_png(x, 0, png_chunk(b"tRNS", struct.pack(">H", 4000))))
    assert (found[0, 0] == 255).all()
    assert (found[1:] == 3000 >> 8).all()


def test_a_profile_is_converted_to_srgb() -> None:
    if not features.check("littlecms2"):
        pytest.skip("this Pillow has no littlecms2")
    image = noise(8, 8)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(pixels(encoded(image, icc_profile=srgb)), np.asarray(image))
    # A profile whose red and green are swapped, by the names of its tags.
    swapped = srgb.replace(b"rXYZ", b"tmpZ").replace(b"gXYZ", b"rXYZ").replace(b"tmpZ", b"gXYZ")
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    found = pixels(encoded(image, icc_profile=swapped)).astype(int)
    expected = np.asarray(image)[..., [1, 0, 2]].astype(int)
    assert np.abs(found - expected).max() <= 2
    for unusable in (b"nonsense", srgb[:200]):
        x = pixels(encoded(image, icc_profile=unusable))
        np.testing.assert_array_equal(x, np.asarray(image))
    grey = pixels(encoded(image.convert("L"), icc_profile=srgb))  # a profile of another mode
    np.testing.assert_array_equal(grey, np.asarray(image.convert("L").convert("RGB")))


def test_the_first_frame() -> None:
    frames = [noise(8, 8, seed) for seed in range(2)]
    for format in ("GIF", "TIFF", "PNG", "WEBP"):
        how = {"lossless": True} if format == "WEBP" else {}
        content = encoded(frames[0], format, save_all=True, append_images=frames[1:], **how)
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        np.testing.assert_array_equal(pixels(content), expected)


def test_grey() -> None:
    image = noise(8, 8)
    x = pixels(encoded(image), color="grey")
    assert x.shape == (8, 8, 1)
    np.testing.assert_array_equal(x[..., 0], np.asarray(image.convert("L")))


def test_avif() -> None:
    if "AVIF" not in _formats():
        pytest.skip("this Pillow has no AVIF")
    content = encoded(Image.new("RGB", (8, 8), (200, 10, 10)), "AVIF")
    assert pixels(content).shape == (8, 8, 3)


def sized_png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"")


REFUSED = {
    "empty file": b"",
    "not a picture": b"words",
    "truncated": encoded(noise(64, 64), "JPEG")[:900],
    "damaged": encoded(noise(64, 64)).replace(b"IDAT", b"IDAT\xff\xff", 1),
    "32-bit values": encoded(Image.new("F", (8, 8)), "TIFF"),
    "smaller than the size": encoded(noise(7, 9)),
    "more than 64 megapixels": sized_png(8001, 8000),
}


@pytest.mark.parametrize("reason", sorted(REFUSED))
def test_refused(reason: str) -> None:
    with pytest.raises(Refused, match=f"^{reason}$"):
        pixels(REFUSED[reason])


def test_what_pillow_calls_a_bomb() -> None:
    for width in (12_000, 30_000):  # a warning of Pillow, an error of Pillow
        with pytest.raises(Refused, match="megapixels"):
            pixels(sized_png(width, 10_000))


def test_no_other_format_is_opened() -> None:
    for format in ("EPS", "PPM", "ICO", "PDF", "TGA"):
        with pytest.raises(Refused, match="not a picture"):
            pixels(encoded(noise(16, 16), format))


def test_smaller_pictures_are_enlarged_if_asked() -> None:
    image = noise(4, 4)
    expected = image.resize((8, 8), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(pixels(encoded(image), upscale=True), np.asarray(expected))
    assert pixels(encoded(noise(9, 4)), crop="pad").shape == (8, 8, 3)  # the longer side counts


@pytest.mark.long
def test_fifty_megapixels() -> None:
    assert (pixels(encoded(Image.new("1", (10_000, 5_000), 1))) == 255).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(0), "size=0 must be in 1"),
        (Options(8, crop="centre"), "crop='centre' is unknown; did you mean 'center'"),
        (Options(8, filter="nearest"), "filter='nearest' is unknown"),
        (Options(8, color="red"), "color='red' is unknown"),
        (Options(8, background="whitish"), "background='whitish' must be a colour's name"),
        (Options(8, background="#ffffff00"), "background='#ffffff00'"),
    ],
)
def test_options_are_checked(options: Options, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        check(options)
