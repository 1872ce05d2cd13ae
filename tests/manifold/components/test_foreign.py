import numpy as np
import pytest

from jaxsurf.manifold.components import foreign
from jaxsurf.manifold.neighbours.kd_tree import KdTree
from jaxsurf.manifold.neighbours.ranking import Ranking


def on_a_line():
    """Return three places, the outer ones farther apart, as rounded, than both from the middle."""
    random = np.random.default_rng(0)
    while True:
        near, middle, far = np.sort(10 * random.random(3))
        if far - near > (middle - near) + (far - middle):
            return near, middle, far


@pytest.mark.parametrize("kind", [KdTree, "ranking"])
def test_a_leader_looks_far_enough_for_its_flock_whatever_rounds(kind):
    near, middle, far = on_a_line()
    codes, labels = np.array([[near], [middle], [far]]), np.array([0, 1, 1])
    numbers = np.array([0])
    among = foreign.exact.make_search(codes[:1], numbers)
    assert isinstance(among, Ranking)
    if kind is KdTree:
        among = KdTree(codes[:1], numbers)
    look = foreign._Look(codes, labels, np.array([np.inf, middle - near]), among)
    flock = foreign._Flocks(
        np.array([1, 2]), np.array([0]), np.array([2]), np.array([far - middle])
    )
    assert 1 in look.promising(flock)
