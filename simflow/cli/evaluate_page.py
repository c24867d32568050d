"""What ``simflow evaluate`` writes beside its figures: pictures and tables, and a note of each in the record."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from simflow import distributed
from simflow.export import save_picture


@dataclass(frozen=True, kw_only=True)
class Page:
    """What an evaluation has to show: its record, and the folder of its pictures and tables."""

    folder: Path
    name: str
    """What the names of all its files begin with."""
    record: dict[str, Any]

    def leave_out(self, *sentences: str) -> None:
        """Notes what cannot be said, and why; the same sentence once."""
        for sentence in sentences:
            if sentence not in self.record["left_out"]:
                self.record["left_out"].append(sentence)

    def file(self, what: str, ending: str) -> Path:
        """Notes a file of the page, and where it goes; the folder is made, on rank 0."""
        file = self.folder / f"{self.name}-{what.replace('_', '-')}.{ending}"
        self.record["files"][what] = file.name
        if distributed.is_main():
            self.folder.mkdir(parents=True, exist_ok=True)
        return file

    def keep(self, what: str, picture: Image.Image) -> None:
        """Writes a picture, on rank 0."""
        file = self.file(what, "png")
        if distributed.is_main():
            save_picture(picture, file)
