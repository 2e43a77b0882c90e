"""Disks that fail: what they do not give is no damage of the slide."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time

import numpy as np
import openslide
import pyarrow.parquet as pq
import pytest
import tifffile
import zarr
from damaged import jpeg_slide

import tiling.job
import tiling.workers
from tiling import InputError, open_slide, tile_archive
from tiling.backends.base import BackendError, LostFileError
from tiling.backends.disk import Disk
from tiling.backends.openslide import OpenSlideBackend
from tiling.discovery import slides_in
from tiling.errors import PassingError, is_passing
from tiling.fingerprint import slide_fingerprint
from tiling.job import Drawing, Orders, SlideJob
from tiling.settings import TileSettings

WHOLE = {"x": 0, "y": 0, "width": 512, "height": 384}
FAILING = "/proc/self/mem"  # reading its beginning is an EIO


@contextlib.contextmanager
def failing_disk(monkeypatch, number=errno.EIO):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", refuse)
        yield


def deflated_slide(path, pixels):
    """A slide that OpenSlide reads, one of whose cells it cannot decode."""
    tifffile.imwrite(path, pixels, tile=(128, 128), photometric="rgb", compression="zlib", metadata=None)
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[5]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 50)
    return path


def zarr_slide(folder, pixels, version=3, **options):
    group = zarr.create_group(folder, zarr_format=version)
    group.create_array("0", data=np.ascontiguousarray(pixels[..., 0]), chunks=(128, 128), **options)
    multiscale = {"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}], "version": "0.4"}
    group.attrs.update({"multiscales": [multiscale]} if version == 2 else {"ome": {"multiscales": [multiscale]}})
    return folder


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENXIO])
def test_what_openslide_cannot_read_is_damage_only_if_the_disk_gives_the_files_bytes(
    tmp_path, stained, monkeypatch, number
):
    path = deflated_slide(tmp_path / "a.tiff", stained(512, 384))
    with open_slide(path) as slide:
        assert slide.backend == "openslide"
        with (
            failing_disk(monkeypatch, number),
            pytest.raises(InputError, match=f"disk does not answer: {os.strerror(number)}"),
        ):
            slide.salvage(**WHOLE)
        region, damage = slide.salvage(**WHOLE)
    assert [(cell.row, cell.column) for cell in damage] == [(1, 1)]
    np.testing.assert_array_equal(region[256:], stained(512, 384)[256:])


def test_a_region_that_openslide_fails_to_read_once_is_read_again(tmp_path, stained, monkeypatch):
    path = tmp_path / "a.tiff"
    tifffile.imwrite(path, stained(512, 384), tile=(128, 128), photometric="rgb", compression="zlib", metadata=None)
    read, broken = openslide.OpenSlide.read_region, []

    def flaky(self, *arguments):
        if not broken:
            broken.append(self)
            raise openslide.OpenSlideError("Cannot read raw tile")
        return read(self, *arguments)

    with open_slide(path) as slide:
        monkeypatch.setattr(openslide.OpenSlide, "read_region", flaky)
        region, damage = slide.salvage(**WHOLE)
    assert broken
    assert damage == ()
    np.testing.assert_array_equal(region, stained(512, 384))


def test_a_disk_that_gave_all_bytes_is_trusted_for_ten_times_as_long_as_that_took(tmp_path, monkeypatch):
    (tmp_path / "a.mrxs").touch()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "Data0000.dat").symlink_to(FAILING)
    disk = Disk(tmp_path / "a.mrxs")
    with pytest.raises(LostFileError, match="its disk does not answer: Input/output error"):
        disk.check()
    (tmp_path / "a" / "Data0000.dat").unlink()
    clock = iter([100.0, 101.0, 110.9, 111.1])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    disk.check()
    (tmp_path / "a" / "Data0000.dat").symlink_to(FAILING)
    disk.check()
    with pytest.raises(LostFileError, match="its disk does not answer"):
        disk.check()


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("compressors", ["auto", None])
def test_a_chunk_that_the_disk_does_not_give_is_no_damage(tmp_path, stained, version, compressors):
    path = zarr_slide(tmp_path / "a.zarr", stained(512, 384), version, compressors=compressors)
    chunk = path / "0" / ("1.2" if version == 2 else "c/1/2")
    chunk.rename(tmp_path / "kept")
    chunk.symlink_to(FAILING)
    with open_slide(path) as slide:
        with pytest.raises(InputError, match="its disk does not answer: Input/output error"):
            slide.salvage(**WHOLE)
        slide.read(x=0, y=0, width=512, height=128)
        (tmp_path / "kept").replace(chunk)
        assert slide.salvage(**WHOLE)[1] == ()


def test_a_zarr_whose_documents_the_disk_does_not_give_is_a_slide_that_fails(tmp_path, stained):
    path = zarr_slide(tmp_path / "a.zarr", stained(512, 384))
    (path / "zarr.json").unlink()
    (path / "zarr.json").symlink_to(FAILING)
    assert list(slides_in(tmp_path, tmp_path / "out")) == [path]
    with pytest.raises(InputError, match=r"has a zarr.json that cannot be read: .*Input/output error"):
        open_slide(path)


def test_a_zarr_whose_folder_is_gone_is_no_empty_slide(tmp_path, stained):
    path = zarr_slide(tmp_path / "a.zarr", stained(512, 384))
    with open_slide(path) as slide:
        path.rename(tmp_path / "unmounted")
        with pytest.raises(InputError, match="its folder is no longer there"):
            slide.salvage(**WHOLE)


@pytest.mark.slow
def test_slides_on_a_disk_that_fails_are_failed_and_tiled_by_the_next_call(tmp_path, stained, monkeypatch):
    archive, out = tmp_path / "archive", tmp_path / "tiles"
    archive.mkdir()
    deflated_slide(archive / "a.tiff", stained(512, 384))
    with failing_disk(monkeypatch), pytest.raises(InputError, match="its disk does not answer"):
        tile_archive(archive, out, size=128, workers=0)
    assert len(tile_archive(archive, out, size=128, workers=0))


def test_a_disk_that_fails_while_a_tiff_is_opened_leaves_it_to_no_other_reader(tmp_path, stained, monkeypatch):
    path = jpeg_slide(tmp_path / "a.svs", [stained(512, 384)])

    def refuse(self, *_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(tifffile.FileHandle, "read", refuse)
    with pytest.raises(
        InputError, match=r"a.svs as a slide: its disk does not answer: Input/output error \(ome-tiff\)$"
    ):
        open_slide(path)


@pytest.mark.parametrize("kind", [openslide.OpenSlideError, openslide.OpenSlideUnsupportedFormatError])
def test_a_disk_that_fails_while_openslide_opens_a_slide_leaves_it_to_no_other_reader(
    tmp_path, stained, monkeypatch, kind
):
    path = deflated_slide(tmp_path / "a.tiff", stained(512, 384))

    def refuse(*_):
        raise kind("Cannot read TIFF directory")

    with monkeypatch.context() as patch:
        patch.setattr(openslide.OpenSlide, "__init__", refuse)
        patch.setattr(openslide.OpenSlide, "__del__", lambda self: None, raising=False)
        with failing_disk(monkeypatch), pytest.raises(InputError) as caught:
            open_slide(path)
        assert str(caught.value).endswith("as a slide: its disk does not answer: Input/output error (openslide)")
        assert is_passing(caught.value)
        with open_slide(path) as slide:
            assert slide.backend == "plain-tiff"


def test_of_a_large_file_that_openslide_refuses_no_more_than_the_ends_are_read(tmp_path, monkeypatch):
    read, offsets = os.pread, []
    monkeypatch.setattr(os, "pread", lambda file, length, at: (offsets.append(at), read(file, length, at))[1])
    with (tmp_path / "a.tiff").open("wb") as file:
        file.truncate(1 << 30)
    Disk(tmp_path / "a.tiff").check_ends()
    assert offsets == [0, (1 << 30) - (1 << 22)]


def test_a_disk_that_fails_when_the_colour_profile_is_read_is_told(tmp_path, stained, monkeypatch):
    path = deflated_slide(tmp_path / "a.tiff", stained(512, 384))

    def refuse(*_):
        raise openslide.OpenSlideError("Cannot read ICC profile")

    properties = {"openslide.icc-size": "500", "openslide.vendor": "aperio"}
    monkeypatch.setattr(openslide.OpenSlide, "properties", properties)
    monkeypatch.setattr(openslide.OpenSlide, "read_region", refuse)
    with pytest.raises(BackendError, match="Cannot read ICC profile"):
        OpenSlideBackend.open(path)


def test_a_slide_that_several_tasks_share_is_read_by_one_backend(tmp_path, stained, monkeypatch):
    archive, out = tmp_path / "archive", tmp_path / "tiles"
    archive.mkdir()
    tifffile.imwrite(
        archive / "a.tiff", stained(512, 384), tile=(128, 128), photometric="rgb", compression="zlib", metadata=None
    )
    monkeypatch.setattr(tiling.job, "_PIXELS_PER_TASK", 3 * 128 * 128)
    monkeypatch.setattr(tiling.workers, "_SECONDS_OF_REST", 0.01)
    opened, count = openslide.OpenSlide.__init__, itertools.count()

    def flaky(self, path):
        if next(count) > 0:
            raise openslide.OpenSlideError("Cannot read TIFF directory")
        opened(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(openslide.OpenSlide, "__init__", flaky)
        patch.setattr(openslide.OpenSlide, "__del__", lambda self: None, raising=False)
        with pytest.raises(InputError, match="was read by openslide when its tiles were found, and only plain-tiff"):
            tile_archive(archive, out, size=128, workers=0)
    assert count.__next__() > 4
    tile_archive(archive, out, size=128, workers=0, pictures=False)
    (row,) = pq.read_table(out / "ledger.parquet").to_pylist()
    assert (row["status"], row["backend"]) == ("done", "openslide")


def test_a_picture_is_drawn_by_the_backend_that_found_the_tiles(tmp_path, png):
    job = SlideJob(png(), "a.png", "a.png", slide_fingerprint(png()), "0a")
    draw = Drawing(job, Orders(TileSettings(size=128), pictures=tmp_path), (), "plain-tiff")
    with pytest.raises(PassingError, match=r"was read by plain-tiff .*, and only image opens it now"):
        draw()


def test_a_disk_that_fails_gives_no_other_fingerprint(tmp_path, stained, monkeypatch):
    path = jpeg_slide(tmp_path / "a.svs", [stained(512, 384)])

    def refuse(self, *_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(tifffile.FileHandle, "read", refuse)
    with pytest.raises(InputError, match=r"cannot read .*a.svs: Input/output error"):
        slide_fingerprint(path)
