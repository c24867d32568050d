"""Archives of images that are written as they come: those of ADM's evaluator, or not there at all."""

import numpy as np
import pytest
import torch

from simflow.cli.npz_stream import npz_stream


@pytest.mark.parametrize("channels", [1, 3])
def test_an_archive_is_as_the_adm_evaluator_reads_it(tmp_path, channels):
    images, path = torch.randint(256, (7, channels, 4, 4), dtype=torch.uint8), tmp_path / "new" / "stream.npz"
    labels = [0, 1, 2, -1, 2, 1, 0]
    with npz_stream(path, labels, side=4) as append:
        for batch in images.split(3):
            append(batch)
    with np.load(path) as archive:
        assert sorted(archive) == ["arr_0", "arr_1"]
        pixels, written = archive["arr_0"], archive["arr_1"]
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, images.expand(7, 3, 4, 4).permute(0, 2, 3, 1).numpy())
    assert written.dtype == np.int64
    assert written.tolist() == labels


def test_an_archive_that_is_cut_short_is_not_there(tmp_path):
    path = tmp_path / "cut.npz"
    with (
        pytest.raises(ValueError, match="there are 2 images and 3 labels"),
        npz_stream(path, [0, 1, 2], side=4) as append,
    ):
        append(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    assert list(tmp_path.iterdir()) == []
