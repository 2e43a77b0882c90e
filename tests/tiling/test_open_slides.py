from __future__ import annotations

import gc
import os
import resource
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from openslide import lowlevel

from tiling import InputError, open_slide, open_slides, tile_archive
from tiling.backends.tiff import TiffBackend
from tiling.open_slides import OpenSlides

PATIENCE = 60  # seconds until a test that hangs fails


def test_nobody_waits_for_a_slide_but_those_who_want_the_same(png):
    paths = {name: png(f"{name}.png", seed=seed) for seed, name in enumerate("ab")}
    slides, begun, go_on, opened = OpenSlides(2), threading.Event(), threading.Event(), []

    def slowly():
        opened.append("a")
        begun.set()
        assert go_on.wait(PATIENCE)
        return open_slide(paths["a"])

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(slides.get, "a", slowly)
        assert begun.wait(PATIENCE)
        second = pool.submit(slides.get, "a", slowly)
        other = slides.get("b", lambda: open_slide(paths["b"]))
        other.read(x=0, y=0, width=10, height=10)
        assert not first.done()
        go_on.set()
        assert first.result(PATIENCE) is second.result(PATIENCE)
    assert (opened, len(slides)) == (["a"], 2)


def test_the_slide_that_was_used_longest_ago_is_dropped_and_can_still_be_read_by_who_has_it(png):
    paths = {name: png(f"{name}.png", seed=seed) for seed, name in enumerate("abc")}
    slides, opened = OpenSlides(2), []

    def get(name):
        def opens():
            opened.append(name)
            return open_slide(paths[name])

        return slides.get(name, opens)

    a, b = get("a"), get("b")
    assert get("a") is a
    get("c")
    assert (len(slides), opened) == (2, list("abc"))
    assert get("a") is a
    assert b.read(x=0, y=0, width=10, height=10).shape == (10, 10, 3)
    assert get("b") is not b


def test_a_slide_that_cannot_be_opened_is_tried_again(png, tmp_path):
    slides, path = OpenSlides(2), tmp_path / "late.png"
    for _ in range(2):
        with pytest.raises(InputError, match="no such slide"):
            slides.get("late", lambda: open_slide(path))
    png("late.png")
    assert slides.get("late", lambda: open_slide(path)).dimensions == (600, 500)


def test_there_are_no_more_than_files_may_be_open(png):
    path, (soft, hard) = png(), resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        slides = OpenSlides(1000)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for number in range(70):
        slides.get(str(number), lambda: open_slide(path))
    assert len(slides) == 64


def test_slides_that_hold_decoded_pixels_are_bounded_by_these(png, tmp_path, stained, monkeypatch):
    strips, tiled = tmp_path / "strips.tif", tmp_path / "tiled.ome.tif"
    tifffile.imwrite(strips, stained(200, 200), compression="deflate", rowsperstrip=16, photometric="rgb")
    tifffile.imwrite(tiled, stained(256, 256), compression="jpeg", tile=(128, 128), photometric="rgb", ome=True)
    for path, bytes_each in ((png("a.png", 200, 200), 4 * 200 * 200), (strips, 1 << 26), (tiled, 0)):
        for most in (1, 3):
            monkeypatch.setattr(open_slides, "_HELD", most * bytes_each)
            slides = OpenSlides(5)
            for number in range(8):
                slides.get(str(number), lambda path=path: open_slide(path))
            assert len(slides) == (most if bytes_each else 5), path


def test_a_forked_child_frees_nothing_that_its_parent_had_open(pyramid, tmp_path):
    """A thread of the parent may have held a lock then, on which freeing would wait for ever."""
    tiles = tile_archive(pyramid[0], tmp_path / "tiles", size=128, workers=0)
    expected, slide = tiles.read(0), open_slide(pyramid[0])
    kinds = lowlevel._OpenSlide, lowlevel._OpenSlideCache
    handles = [weakref.ref(each) for each in gc.get_objects() if type(each) in kinds]
    process = os.fork()
    if not process:
        try:
            same = np.array_equal(tiles.read(0), expected)
            slide.close()
            del tiles, slide
            gc.collect()
            kept = [handle() for handle in handles]
            os._exit(0 if same and all(handle and getattr(handle, "_valid", True) for handle in kept) else 1)
        finally:
            os._exit(2)
    assert len(handles) >= 3
    assert os.waitpid(process, 0)[1] == 0


def test_a_slide_is_compared_with_openslide_once_as_long_as_its_file_is_the_same(pyramid, monkeypatch):
    path, levels = pyramid
    compared, compare = [], TiffBackend._compare
    monkeypatch.setattr(TiffBackend, "_compare", lambda self: (compared.append(path), compare(self)))
    for _ in range(3):
        with open_slide(path) as slide:
            assert slide.backend == "tiff"
            np.testing.assert_array_equal(slide.read(x=0, y=0, width=64, height=64), levels[0][:64, :64])
    assert len(compared) == 1
    path.write_bytes(path.read_bytes())
    open_slide(path).close()
    assert len(compared) == 2
