"""The report in a real browser: it draws, fits a phone, goes dark, and prints. Skipped where there is no Chromium."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from simflow.analysis.origin import software
from simflow.report.gather import gather
from simflow.report.page import write

CHROMIUM = next(
    filter(
        None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))
    ),
    None,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")


@pytest.fixture(scope="module")
def report(whole_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("browser") / "report.html"
    write(path, [gather(whole_run, "tiny")], date="today", software=software())
    return path


def browse(folder, *words: str) -> str:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += ["--hide-scrollbars", "--disable-extensions", f"--user-data-dir={folder / 'profile'}"]
    command = [str(CHROMIUM), *flags, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


def shot(report, folder, *flags: str) -> np.ndarray:
    target = folder / "shot.png"
    size = "--window-size=1300,3000"
    browse(folder, size, *flags, f"--screenshot={target}", report.as_uri())
    with Image.open(target) as picture:
        return np.asarray(picture.convert("RGB"))


def test_light_and_dark(report, tmp_path):
    light = shot(report, tmp_path, "--blink-settings=preferredColorScheme=1")
    dark = shot(report, tmp_path, "--blink-settings=preferredColorScheme=0")
    assert light[5, 5].min() > 230
    assert dark[5, 5].max() < 60
    bars = (light == [0x1F, 0x5A, 0x99]).all(axis=-1).sum()
    assert bars > 1000  # charts have their colour


def test_the_browser_loads_all_images_and_refuses_nothing(report, tmp_path):
    """Scripts are forbidden in the page, so another page looks into it."""
    outer = tmp_path / "outer.html"
    outer.write_text(
        f"""<iframe src="{report.as_uri()}" style="width:390px;height:800px"></iframe><pre id="said"></pre>
        <script>onload = () => {{
          const page = document.querySelector("iframe").contentDocument;
          const images = [...page.images];
          document.getElementById("said").textContent = JSON.stringify({{
            images: images.length, loaded: images.filter(i => i.complete && i.naturalWidth).length,
            wide: page.documentElement.scrollWidth, charts: page.querySelectorAll("svg.chart path").length,
            styled: getComputedStyle(page.querySelector(".plate")).borderRadius }});
        }};</script>"""
    )
    seen = browse(tmp_path, "--allow-file-access-from-files", "--dump-dom", outer.as_uri())
    said = seen.split('<pre id="said">')[1].split("</pre>")[0].replace("&quot;", '"')
    assert '"styled":"10px"' in said
    found = dict(part.split(":") for part in said.strip("{}").replace('"', "").split(","))
    assert int(found["images"]) > 20
    assert found["loaded"] == found["images"]
    assert int(found["charts"]) > 10
    assert int(found["wide"]) <= 390  # nothing makes a phone scroll sideways


def test_it_prints(report, tmp_path):
    target = tmp_path / "report.pdf"
    browse(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={target}", report.as_uri())
    content = target.read_bytes()
    assert content.startswith(b"%PDF")
    assert len(content) > 30_000
