from __future__ import annotations

import numpy as np
import pytest

from tiling import InputError, open_slide
from tiling.masks import SlideMask
from tiling.plan import plan_slide
from tiling.regions import Region
from tiling.settings import TileSettings, default_tissue


def planned(path, **settings):
    with open_slide(path) as slide:
        return plan_slide(slide, TileSettings(**settings), name=path.name)


def test_the_default_tissue_fraction_falls_with_the_size():
    assert [default_tissue(size) for size in (64, 1024, 2048, 8192)] == [0.25, 0.25, 0.125, 0.1]
    assert TileSettings(size=2048).least_tissue == 0.125
    assert TileSettings(size=2048, tissue=0).least_tissue == 0


@pytest.mark.parametrize(
    ("mpp", "level", "scale", "tile_mpp"),
    [(0.5, 0, 1, 0.5), (0.502, 0, 1, 0.5), (0.8, 0, 1.6, 0.8), (1.0, 1, 2, 1.0), (1.99, 2, 4, 2.0), (6.0, 2, 12, 6.0)],
)
def test_the_next_finer_level_is_read_and_a_close_one_taken_as_it_is(pyramid, mpp, level, scale, tile_mpp):
    plan = planned(pyramid[0], size=32, mpp=mpp, tissue=0)
    assert plan.level == level
    assert plan.grid.scale == pytest.approx(scale)
    assert plan.mpp == pytest.approx(tile_mpp)
    assert plan.candidates == (int(1024 / scale) // 32) * (int(768 / scale) // 32)


def test_a_level_is_tiled_at_its_own_resolution(pyramid):
    plan = planned(pyramid[0], size=64, level=1, tissue=0)
    assert (plan.level, plan.grid.scale, len(plan.grid)) == (1, 2, 8 * 6)
    assert plan.mpp == pytest.approx(1.0)


def test_filters_count_what_they_drop(pyramid):
    everything = planned(pyramid[0], size=64, tissue=0)
    plan = planned(pyramid[0], size=64, tissue=0.5, limit=10)
    assert plan.candidates == len(everything.grid) == 192
    assert len(plan.grid) == 10
    assert plan.candidates == 10 + sum(plan.dropped.values())
    assert plan.dropped["below_tissue"] == (everything.tissue < 0.5).sum()
    assert (plan.tissue >= 0.5).all()
    assert plan.reason == ""


def test_the_draw_depends_on_the_seed_only(pyramid):
    one, same, other = (planned(pyramid[0], size=32, limit=20, seed=seed).grid.x for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert one.tolist() != other.tolist()


def test_a_slide_that_cannot_give_such_tiles_is_refused_by_name(pyramid, data):
    with pytest.raises(InputError, match=r"tcga-.*\.svs does not say its resolution, .*mpp_of \(--mpp-of\)"):
        planned(data / "slides" / "tcga-cr-7395-01a-01-ts1.svs", size=256, mpp=0.5)
    with pytest.raises(InputError, match=r"has 0\.5 micrometres per pixel and cannot give finer tiles of 0\.25"):
        planned(pyramid[0], size=256, mpp=0.25)
    with pytest.raises(InputError, match="has levels 0 to 2, not 3"):
        planned(pyramid[0], size=256, level=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "at least 1 px"),
        ({"size": 8, "overlap": 8}, "overlap must be"),
        ({"edge": "wrap"}, "edge must be"),
        ({"tissue": 1.5}, "tissue is a fraction from 0 to 1, not 1.5"),
        ({"mpp": 0.0}, "mpp is a positive number"),
        ({"mpp": float("nan")}, "mpp is a positive number"),
        ({"mpp": 0.5, "level": 1}, r"give mpp or level, not both \(mpp 0.5, level 1\)"),
        ({"mpp": 0.5, "power": 20, "level": 1}, "give mpp or power or level, not all"),
        ({"power": -20}, "power is the magnification of an objective, 20 or 40, say, not -20"),
        ({"level": -1}, "level counts from 0"),
        ({"limit": 0}, "limit is at least 1"),
        ({"seed": -1}, "seed is 0 or more"),
    ],
)
def test_wrong_settings_are_refused_with_the_value(settings, message):
    with pytest.raises(InputError, match=message):
        TileSettings(**settings)


def test_a_magnification_is_a_resolution_where_the_slide_tells_its_objective(data):
    aperio = planned(data / "slides" / "cmu-1-small-region.svs", size=128, power=10, tissue=0)
    assert (aperio.level, aperio.grid.scale) == (0, 2.0)
    hamamatsu = planned(data / "slides" / "fluorescence-dapi.ndpi", size=128, power=10, tissue=0)
    assert (hamamatsu.level, hamamatsu.grid.scale) == (2, 4.0)
    with pytest.raises(InputError, match=r"was scanned with an objective of 20 and cannot give tiles as of 40"):
        planned(data / "slides" / "cmu-1-small-region.svs", size=128, power=40)
    with pytest.raises(InputError, match=r"tcga-.* does not say its objective power, .* ask for mpp instead"):
        planned(data / "slides" / "tcga-cr-7395-01a-01-ts1.svs", size=128, power=10)


def _square(name, x, y, size):
    ring = np.array([[x, y], [x + size, y], [x + size, y + size], [x, y + size]], float)
    return Region((name,), [[ring]], where="here")


def test_tiles_are_kept_that_touch_regions_of_the_classes_asked_for(pyramid):
    regions = [_square("Glomerulus", 500, 380, 20), _square("artery", 300, 300, 10)]
    with open_slide(pyramid[0]) as slide:
        settings = TileSettings(size=64, keep_classes=("glomerulus",))
        plan = plan_slide(slide, settings, name="a", annotations=regions)
        none = plan_slide(slide, TileSettings(size=64, keep_classes=("vein",)), name="a", annotations=regions)
        unannotated = plan_slide(slide, settings, name="a")
    assert sorted(zip(plan.grid.x.tolist(), plan.grid.y.tolist(), strict=True)) == [
        (448, 320),
        (448, 384),
        (512, 320),
        (512, 384),
    ]
    assert plan.candidates == 4 + plan.dropped["below_tissue"] + plan.dropped["outside_classes"]
    assert none.reason.startswith("no tile of the classes asked for: of 192 tiles ")
    assert none.reason.endswith(" touch no vein; its annotations have artery, Glomerulus")
    assert unannotated.reason.endswith("touch no glomerulus; it has no annotations")


def test_tissue_that_somebody_drew_goes_before_what_is_found(pyramid):
    mask = np.zeros((768 // 8, 1024 // 8), bool)
    mask[:8, :16] = True
    with open_slide(pyramid[0]) as slide:
        plan = plan_slide(slide, TileSettings(size=64), name="a", tissue=SlideMask(mask, *slide.dimensions))
    assert (plan.grid.x.tolist(), plan.grid.y.tolist()) == ([0, 64], [0, 0])
    assert plan.tissue.tolist() == [1, 1]
