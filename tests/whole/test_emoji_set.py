"""The tool that divides emoji: parts by base code, and finer classes where there are subcategories."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from simflow.data import DataConfig, load
from simflow.model import Facts

TOOL = Path(__file__).parents[2] / "tools" / "emoji_set.py"
DRAWINGS = {
    "objects/noto_1f4a1_1f4a1.webp": "light & video",
    "objects/fluent_1f4a1_1f4a1.webp": "light & video",
    "objects/noto_1f512_1f512.webp": "lock",
    "flags/noto_1f3c1_1f3c1.webp": "flag",
}


def packed(folder: Path, **more: str) -> Path:
    """A tar file of the drawings, with further texts beside them."""
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(picture, "webp", lossless=True)
    contents = {f"emoji/{name}": picture.getvalue() for name in DRAWINGS}
    contents |= {f"emoji/{name.replace('_', '.')}": text.encode() for name, text in more.items()}
    with tarfile.open(folder / "emoji.tar", "w") as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return folder / "emoji.tar"


def divided(source: Path) -> str:
    out = source.with_suffix(".zip")
    subprocess.run([sys.executable, str(TOOL), str(source), str(out)], check=True, capture_output=True)
    return str(out)


@pytest.mark.parametrize("label", [None, "subcategory"])
def test_one_archive_has_the_coarse_classes_and_the_finer_ones(tmp_path, label):
    table = json.dumps({f"emoji/{name}": kind for name, kind in DRAWINGS.items()})
    archive = divided(packed(tmp_path, subcategories_json=table))
    images = load(DataConfig(path=archive, split=None, image_size=8, label=label))
    assert len(images) == 4
    if label is None:
        assert images.class_names == ("flags", "objects")
        return
    assert images.class_names == ("flags/flag", "objects/light-video", "objects/lock")
    assert sorted(images.labels.tolist()) == [0, 1, 1, 2]
    facts = Facts(image_size=8, channels=3, class_names=images.class_names)
    assert facts.families == {"flags": (0,), "objects": (1, 2)}


def test_without_subcategories_there_is_no_table(tmp_path):
    images = load(DataConfig(path=divided(packed(tmp_path)), split=None, image_size=8))
    assert images.class_names == ("flags", "objects")
    with pytest.raises(ValueError, match="has no such column 'subcategory'"):
        load(DataConfig(path=divided(packed(tmp_path)), split=None, image_size=8, label="subcategory"))
