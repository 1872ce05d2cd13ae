import numpy as np
import pytest
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform

from jaxsurf.errors import UserError
from jaxsurf.manifold import graph, knn
from jaxsurf.manifold.components import connecting


@pytest.mark.parametrize(("points", "dims"), [(2, 1), (37, 2), (211, 3), (101, 5)])
def test_smallest_radius_is_the_longest_edge_of_the_euclidean_tree(points, dims):
    codes = np.random.default_rng(points).normal(size=(points, dims))
    expected = minimum_spanning_tree(squareform(pdist(codes))).data.max()
    assert connecting.smallest_radius(codes) == pytest.approx(expected, rel=1e-12)


def test_smallest_radius_connects_and_a_smaller_one_does_not():
    codes = np.random.default_rng(1).normal(size=(97, 2))
    radius = connecting.smallest_radius(codes)
    assert graph.radius_graph(codes, radius=radius).components.max() == 0
    assert graph.radius_graph(codes, radius=radius * (1 - 1e-9)).components.max() == 1


def test_coincident_points_are_joined_by_a_radius_of_their_own():
    codes = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
    assert connecting.smallest_radius(codes) == 5.0
    assert connecting.smallest_radius(codes[:3]) == 0.0


def test_an_outlier_sets_the_radius_without_all_pairs_being_looked_at(monkeypatch):
    monkeypatch.setattr("jaxsurf.manifold.neighbours.within.MAX_PAIRS", 0)
    codes = np.append(np.random.default_rng(0).normal(size=(997, 2)), [[1e6, 0]], axis=0)
    expected = np.linalg.norm(codes[:-1] - codes[-1], axis=1).min()
    assert connecting.smallest_radius(codes) == pytest.approx(expected)


def test_the_smallest_k_is_found_among_many():
    codes = np.repeat([[0.0], [1.0]], 40, axis=0)
    assert connecting.smallest_k(knn.nearest(codes, k=79)) == 40
    assert connecting.smallest_k(knn.nearest(codes, k=40)) == 40
    assert connecting.smallest_k(knn.nearest(codes, k=39)) == 0


def test_two_clusters_far_apart_are_bridged_by_their_gap():
    codes = np.array([[0.0], [1.0], [2.0], [3.0], [100.0], [101.0], [102.0]])
    assert connecting.smallest_radius(codes) == 97.0


def test_one_point_is_refused():
    with pytest.raises(UserError, match="one point has no neighbours"):
        connecting.smallest_radius(np.zeros((1, 2)))


def test_too_many_neighbours_are_refused_before_they_fill_the_memory(monkeypatch):
    random = np.random.default_rng(5)
    codes = np.concatenate([random.normal(size=(53, 2)), random.normal(size=(53, 2)) + 1000])
    neighbours, k = connecting.neighbours(knn.Index(codes), first_k=8)
    assert k == 53
    assert neighbours.indices.shape[1] >= 53
    monkeypatch.setattr(connecting, "MOST_NEIGHBOURS", 106 * 40)
    with pytest.raises(UserError, match=r"32 neighbours of each of 106 points don't connect them"):
        connecting.neighbours(knn.Index(codes), first_k=8)
