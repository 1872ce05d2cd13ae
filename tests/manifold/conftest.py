import pytest

from jaxsurf.manifold.neighbours import kd_tree


@pytest.fixture(autouse=True)
def nothing_is_loaded(monkeypatch):
    """Compiled searches are chosen as in a process that has just begun, whatever ran before."""
    monkeypatch.setattr(kd_tree, "_loaded", set())
