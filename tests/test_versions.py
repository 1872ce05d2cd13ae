"""Versions beside results are those that the interpreter and the packages say themselves."""

import platform

import flax
import igraph
import jax
import numpy as np
import scipy

from jaxsurf import versions


def test_versions_are_those_that_packages_say_themselves():
    found = versions.of()
    assert found["python"] == platform.python_version()
    for module in (flax, igraph, jax, np, scipy):
        assert found[module.__name__] == module.__version__
    assert tuple(found) == ("python", *versions.DECISIVE)


def test_what_is_not_installed_is_left_out():
    assert versions.of(("numpy", "no-such-package-at-all")) == {
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
