from __future__ import annotations

import subprocess
import sys

import pytest

import tiling


def test_importing_tiling_and_opening_a_slide_needs_no_torch_and_the_import_alone_not_even_numpy():
    code = (
        "import sys, tiling; assert 'numpy' not in sys.modules; tiling.tile_archive; tiling.open_slide; "
        "assert not {'torch', 'training', 'hdgan'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_module_of_tiling_can_be_the_first_that_is_imported():
    code = (
        "import importlib, pkgutil, sys, tiling\n"
        "for module in list(pkgutil.walk_packages(tiling.__path__, 'tiling.')):\n"
        "    for name in [name for name in sys.modules if name.split('.')[0] == 'tiling']:\n"
        "        del sys.modules[name]\n"
        "    importlib.import_module(module.name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_a_wrong_one_is_an_attribute_error():
    assert all(getattr(tiling, name) is not None for name in tiling.__all__)
    assert set(tiling.__all__) <= set(dir(tiling))
    with pytest.raises(AttributeError, match="no attribute 'tile_everything'"):
        tiling.tile_everything  # noqa: B018
