from __future__ import annotations

import json

import pytest

from tiling import InputError
from tiling.info import describe


def test_a_slide_is_described_without_what_the_scanner_noted_about_people(data):
    facts = describe(data / "slides" / "cmu-1-small-region.svs")
    assert (facts["width"], facts["height"], facts["mpp"], facts["objective_power"]) == (2220, 2967, 0.499, 20)
    assert (facts["backend"], facts["format"], facts["kind"]) == ("tiff", "aperio", "bright field")
    assert facts["levels"] == [{"width": 2220, "height": 2967, "downsample": 1.0}]
    assert "User" not in json.dumps(facts)


def test_fluorescence_and_pictures_are_described(data, png):
    facts = describe(data / "slides" / "fluorescence-dapi.ndpi")
    assert (facts["kind"], facts["background"], facts["format"]) == ("fluorescence", [0, 0, 0], "hamamatsu")
    assert describe(png())["format"] == "PNG"


def test_what_is_no_slide_is_refused(data):
    with pytest.raises(InputError, match="cannot open"):
        describe(data / "slides" / "broken.svs")
