"""Contact sheets of what a generator draws while it is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from small_study import make_small_generator

from hdgan.pictures import read_image
from hdgan.stylegan2 import Generator
from hdgan.stylegan2.sheets import _thumbnail, write_sheet

CELL, ROW = 12, 26  # px that the sheet adds to each thumbnail, for frames and captions


def test_a_sheet_is_named_by_the_images_seen_and_is_the_same_for_the_same_generator(tmp_path: Path) -> None:
    generator = make_small_generator()
    made = write_sheet(tmp_path / "sheets", generator, 12.345)
    assert made == tmp_path / "sheets" / "kimg-000012.345.png"
    sheet = read_image(made)
    assert sheet.shape == (4 * (64 + ROW), 6 * (64 + CELL), 3)
    assert np.array_equal(read_image(write_sheet(tmp_path / "sheets", generator, 13)), sheet)
    cells = [sheet[6 : 6 + 64, x + 6 : x + 70] for x in range(0, sheet.shape[1], 64 + CELL)]
    assert len({cell.tobytes() for cell in cells}) == 6
    assert all(np.array_equal(cell, cell[::2, ::2].repeat(2, axis=0).repeat(2, axis=1)) for cell in cells)


def test_a_row_shows_a_class_of_the_first_ten(tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator = Generator(resolution=8, z_dim=4, w_dim=4, c_dim=12, channel_base=64, channel_max=8, mapping_layers=1)
    generator.eval().classes = {f"class {k}": 1 for k in range(12)}
    assert read_image(write_sheet(tmp_path, generator, 0)).shape == (10 * (64 + ROW), 6 * (64 + CELL), 3)


def test_thumbnails_are_means_of_whole_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert np.array_equal(_thumbnail(image, 64), image)
    assert np.array_equal(_thumbnail(image, 16)[3, 5], image[12:16, 20:24].mean(axis=(0, 1)).round())
