"""Images in the page: exact where small, readable where large, never a file that is no picture."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from simflow.report.inline import file, row


def opened(markup: str) -> Image.Image:
    data = re.search(r'src="data:image/\w+;base64,([^"]+)"', markup)
    return Image.open(io.BytesIO(base64.b64decode(data[1])))


@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_are_exact_with_clear_gaps(channels):
    images = torch.randint(256, (3, channels, 8, 8), dtype=torch.uint8)
    markup = row(images, "three")
    picture = np.asarray(opened(markup))
    assert picture.shape == (8, 3 * 9 - 1, channels + 1)
    assert (picture[:, [8, 17], -1] == 0).all()
    for place in range(3):
        part = picture[:, 9 * place : 9 * place + 8]
        assert (part[..., -1] == 255).all()
        np.testing.assert_array_equal(part[..., :-1], images[place].movedim(0, -1).numpy())
    assert 'alt="three" width="208" height="64" class="pixels"' in markup


def test_large_images_become_jpeg_of_bounded_width():
    images = torch.full((10, 3, 300, 300), 100, dtype=torch.uint8)
    picture = opened(row(images, "ten"))
    assert picture.format == "JPEG"
    assert picture.width == 2400
    assert abs(int(np.asarray(picture)[100, 100, 0]) - 100) <= 2


def test_a_picture_file_is_kept_byte_for_byte(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (30, 20), (1, 2, 3)).save(path)
    markup = file(path, "a < b")
    assert base64.b64encode(path.read_bytes()).decode() in markup
    assert 'alt="a &lt; b" width="30" height="20"' in markup


def test_what_is_no_picture_is_left_out(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"<script>")
    assert file(path, "x") is None
