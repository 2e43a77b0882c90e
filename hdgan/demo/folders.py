"""Where the demo keeps what other studies do not have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hdgan.study import Study


@dataclass(frozen=True)
class DemoFolders:
    """The demo's study and what stands beside its stages."""

    study: Study

    @property
    def slides(self) -> Path:
        """The phantoms; their truth is in a folder beside it."""
        return self.study.root / "slides"

    @property
    def unseen(self) -> Study:
        """A second phantom, tiled like the first: no stage learns from it, scores are taken on it."""
        return Study(self.study.root / "unseen")

    @property
    def expert(self) -> Path:
        """The stand-in for the expert, its score and its masks."""
        return self.study.root / "expert"

    @property
    def comparison(self) -> Path:
        """Two segmenters, and how they score."""
        return self.study.root / "comparison"

    @property
    def report(self) -> Path:
        """What to open in a browser."""
        return self.study.root / "report.html"

    def slide(self, seed: int) -> Path:
        """A phantom's slide."""
        return self.slides / f"phantom-{seed}.tiff"

    def truth(self, seed: int) -> Path:
        """A phantom's truth."""
        return truth_folder(self.slides) / f"phantom-{seed}.tiff"


def truth_folder(slides: Path) -> Path:
    """Where the truth of phantoms in a folder is: beside it and marked, so that tiling never takes it for slides."""
    return slides.with_name(f"{slides.name}-truth")
