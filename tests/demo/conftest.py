from __future__ import annotations

import pytest

from agebench.demo.releases import DemoReleases, draw_releases


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> DemoReleases:
    return draw_releases(tmp_path_factory.mktemp("demo"), records=40, seed=3)
