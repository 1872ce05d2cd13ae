import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.manifold import graph, knn
from jaxsurf.manifold.edges.trimming import Trimming
from jaxsurf.manifold.graph import GraphConfig

CODES = np.random.default_rng(0).normal(size=(211, 3))


def built(trim=None, **changes):
    config = GraphConfig(**({"kind": "knn", "k": 7, "weight": "latent"} | changes))
    return graph.build(CODES, config, trim=trim)


def edges(made):
    ends, weights = made.edges()
    return dict(zip(map(tuple, ends.tolist()), weights.tolist(), strict=True))


def test_no_edge_is_longer_than_asked_and_no_other_is_gone():
    whole = edges(built())
    limit = float(np.median(list(whole.values())))
    assert edges(built(Trimming(max_edge=limit))) == {
        ends: length for ends, length in whole.items() if length <= limit
    }


def test_the_longest_edges_go_until_points_have_so_many_neighbours_on_average():
    whole, kept = edges(built()), edges(built(Trimming(avg_neighbors=5)))
    assert len(kept) == int(5 * len(CODES) / 2)
    assert sorted(kept.values()) == sorted(whole.values())[: len(kept)]
    for many in (100, 1e308):
        assert edges(built(Trimming(avg_neighbors=many))) == whole


def test_both_limits_hold_together():
    limit = float(np.median(list(edges(built()).values())))
    both = edges(built(Trimming(max_edge=limit, avg_neighbors=4)))
    few = edges(built(Trimming(avg_neighbors=4)))
    assert both == {ends: length for ends, length in few.items() if length <= limit}


def test_a_repair_and_a_spanning_tree_come_after():
    trim = Trimming(avg_neighbors=2)
    assert built(trim).components.max() > 0
    assert built(trim, repair=True).components.max() == 0
    assert built(trim, spanning_tree=True).components.max() == 0


def test_lengths_count_where_edges_weigh_something_else():
    plain, cubed = (
        edges(built(Trimming(max_edge=0.4))),
        edges(built(Trimming(max_edge=0.4), weight="density")),
    )
    assert plain.keys() == cubed.keys()
    np.testing.assert_allclose(list(cubed.values()), np.array(list(plain.values())) ** 3)


def test_what_was_done_is_said():
    assert built(Trimming(max_edge=0.5, avg_neighbors=3)).description == (
        "k-NN graph with k = 7, with at most edges up to 0.5 and 3 neighbours on average"
    )
    assert not Trimming()
    assert knn.nearest(CODES, k=7).indices.shape == (211, 7)


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_limits_that_mean_nothing_are_refused(wrong):
    with pytest.raises(UserError, match="max_edge is"):
        Trimming(max_edge=wrong)
