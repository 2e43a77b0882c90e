"""The small study that tests of several stages share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from small_study import make_ensemble, make_label_maps, make_latents, make_small_generator

from hdgan.features import FeatureStore, extract
from hdgan.labels import LabelMap
from hdgan.pixels import PixelEnsemble
from hdgan.stylegan2.generator import Generator


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only wait for a second thread, and for long where the processors are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small_generator() -> Generator:
    return make_small_generator()


@pytest.fixture(scope="session")
def small_store(small_generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    out = tmp_path_factory.mktemp("study") / "features"
    return extract(small_generator, make_latents(small_generator, 6), out, blocks=3)


@pytest.fixture(scope="session")
def label_maps(small_store: FeatureStore) -> dict[int, LabelMap]:
    return make_label_maps(small_store)


@pytest.fixture(scope="session")
def random_ensemble(small_store: FeatureStore) -> PixelEnsemble:
    return make_ensemble(small_store)
