"""Pictures of every kind, written to disk and read back: which pixels come out."""

import io
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from simflow.data import DataConfig
from simflow.data.decode import Unreadable, decode
from simflow.data.source import Source

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def decoded(content, **choices):
    """The pixels (c, h, w) of an encoded picture, of an image to be saved as PNG, or of an array."""
    if isinstance(content, Image.Image):
        content = encoded(content, "PNG")
    source = Source(
        names=["it"],
        keys=["it"],
        labels=np.zeros(1, dtype=np.int64),
        class_names=(),
        marks=[0],
        read=lambda _: content,
    )
    return decode(source, 0, DataConfig(path="picture", **{"image_size": 4, **choices}))


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def everywhere(pixels, colour, *, within=0):
    """Whether all of (c, h, w) has one colour."""
    return (np.abs(pixels.astype(int) - np.reshape(colour, (-1, 1, 1))) <= within).all()


def random_rgb(height, width):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_rgb_at_its_own_size_is_untouched():
    image = random_rgb(4, 4)
    pixels = decoded(image)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.asarray(image).transpose(2, 0, 1))


def test_gray_becomes_three_equal_channels():
    image = random_rgb(4, 4).convert("L")
    np.testing.assert_array_equal(decoded(image), np.stack([np.asarray(image)] * 3))


def test_rgb_becomes_gray_by_luma():
    pixels = decoded(Image.new("RGB", (4, 4), GREEN), channels=1)
    assert pixels.shape == (1, 4, 4)
    assert everywhere(pixels, [round(0.587 * 255)])


def test_one_bit_is_black_and_white():
    image = Image.new("1", (4, 4))
    image.putpixel((0, 0), 1)
    pixels = decoded(image, channels=1)
    assert pixels[0, 0, 0] == 255
    assert pixels.sum() == 255


def test_palette():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([*GREEN, *RED])
    assert everywhere(decoded(image), RED)


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])], ids=["index", "table"])
def test_a_transparent_palette_entry_shows_the_background(transparency):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([*GREEN, *RED])
    image.putpixel((0, 0), 0)
    pixels = decoded(encoded(image, "PNG", transparency=transparency), background=BLUE)
    assert pixels[:, 0, 0].tolist() == list(GREEN)
    assert pixels[:, 1, 1].tolist() == list(BLUE)


def test_a_transparent_gif():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([*GREEN, *RED])
    assert everywhere(decoded(encoded(image, "GIF", transparency=1)), WHITE)


def test_alpha_is_laid_on_white_unless_told_otherwise():
    image = Image.new("RGBA", (4, 4), (*RED, 0))
    assert everywhere(decoded(image), WHITE)
    assert everywhere(decoded(image, background=BLUE), BLUE)
    assert everywhere(decoded(image, background=BLACK, channels=1), [0])


def test_half_transparent_is_mixed():
    assert everywhere(decoded(Image.new("RGBA", (4, 4), (255, 0, 0, 128))), (255, 127, 127), within=1)


def test_gray_with_alpha():
    assert everywhere(decoded(Image.new("LA", (4, 4), (10, 255)), channels=1), [10])
    assert everywhere(decoded(Image.new("LA", (4, 4), (10, 0)), channels=1), [255])


def test_a_transparent_colour_of_an_rgb_png():
    content = encoded(Image.new("RGB", (4, 4), RED), "PNG", transparency=RED)
    assert everywhere(decoded(content, background=BLUE), BLUE)


def test_alpha_is_composited_before_resizing():
    """Transparent pixels may hide any colour; it must not bleed into their neighbours."""
    image = Image.new("RGBA", (8, 8), (*GREEN, 0))
    image.paste((*WHITE, 255), (4, 0, 8, 8))
    assert everywhere(decoded(image), WHITE)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_gray_is_scaled_not_clipped(format):
    values = np.array([[0, 128, 129, 257], [514, 32768, 65406, 65535]] * 2, dtype=np.uint16)
    pixels = decoded(encoded(Image.fromarray(values), format), channels=1)
    assert pixels[0, :2].tolist() == [[0, 0, 1, 1], [2, 128, 254, 255]]


def test_a_transparent_value_of_sixteen_bit_gray():
    """The value itself, not its neighbours that become the same 8-bit gray."""
    values = np.array([[0, 30000, 30001, 65535]] * 4, dtype=np.uint16)
    png = encoded(Image.fromarray(values), "PNG", transparency=30000)
    pixels = decoded(png, channels=1, background=(200, 200, 200))
    assert pixels[0, 0].tolist() == [0, 200, 117, 255]


def test_cmyk():
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert everywhere(decoded(encoded(red, "TIFF")), RED)
    assert everywhere(decoded(encoded(red, "JPEG")), RED, within=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    """Each of the eight, undone, shows the red corner at the top left and the blue at the bottom."""
    upright = Image.new("RGB", (4, 4))
    upright.putpixel((0, 0), RED)
    upright.putpixel((0, 3), BLUE)
    # How an upright picture is stored under each tag: the inverse of what the tag asks the viewer to do.
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decoded(encoded(stored, "PNG", exif=exif))
    np.testing.assert_array_equal(pixels, np.asarray(upright).transpose(2, 0, 1))


def test_crop_takes_the_middle_of_a_wide_picture():
    image = Image.new("RGB", (30, 10), RED)
    image.paste(GREEN, (10, 0, 20, 10))
    assert everywhere(decoded(image), GREEN)


def test_crop_takes_the_middle_of_a_tall_picture():
    image = Image.new("RGB", (7, 21), RED)
    image.paste(GREEN, (0, 7, 7, 14))
    assert everywhere(decoded(image), GREEN)


def test_crops_are_resized_by_bicubic_interpolation():
    image = random_rgb(9, 13)
    expected = image.crop((2, 0, 11, 9)).resize((4, 4), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(decoded(image), np.asarray(expected).transpose(2, 0, 1))


def test_reduction_is_antialiased():
    """A checkerboard of single pixels, far too fine for the result, must become even gray."""
    checkers = np.indices((64, 64)).sum(0) % 2 * 255
    pixels = decoded(Image.fromarray(checkers.astype(np.uint8)), channels=1)
    assert everywhere(pixels, [127], within=3)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 5), (5, 3), (1, 9), (101, 57)])
def test_any_size_is_cropped_to_the_square(width, height):
    assert everywhere(decoded(Image.new("RGB", (width, height), (10, 20, 30))), (10, 20, 30))


def test_pad_centres_on_black():
    image = random_rgb(2, 3)
    pixels = decoded(image, fit="pad", image_size=7).copy()
    np.testing.assert_array_equal(pixels[:, 2:4, 2:5], np.asarray(image).transpose(2, 0, 1))
    pixels[:, 2:4, 2:5] = 0
    assert not pixels.any()


def test_pad_refuses_a_picture_larger_than_the_canvas():
    with pytest.raises(
        ValueError,
        match=r"it is 3 x 5 pixels, larger than the canvas of 4 x 4.*, or train with data.fit 'crop'",
    ):
        decoded(Image.new("L", (3, 5)), fit="pad")


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1), (4, 4, 3)])
def test_arrays_pass_unchanged(shape):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    pixels = decoded(array, channels=3 if shape[2:] == (3,) else 1)
    np.testing.assert_array_equal(pixels, np.atleast_3d(array).transpose(2, 0, 1))


@pytest.mark.parametrize(
    "content",
    [
        encoded(random_rgb(64, 64), "JPEG")[:-200],
        encoded(random_rgb(64, 64), "PNG")[:-200],
        encoded(Image.new("F", (4, 4)), "TIFF"),
        b"not a picture",
        b"",
    ],
    ids=["truncated jpeg", "truncated png", "floats", "text", "empty"],
)
def test_what_cannot_be_read_is_named(content):
    with pytest.raises(Unreadable, match=r"^it cannot be read: ."):
        decoded(content)


@pytest.mark.parametrize("fault", [OverflowError, TypeError, NotImplementedError])
def test_whatever_a_damaged_picture_raises_it_is_unreadable(monkeypatch, fault):
    monkeypatch.setattr("PIL.Image.open", Mock(side_effect=fault("odd")))
    with pytest.raises(Unreadable, match=r"^it cannot be read: odd"):
        decoded(b"")
