"""Codes of any model in the explorer, without a browser."""

import numpy as np
import pytest

from jaxsurf.pipeline.explored import ExploredCodes
from jaxsurf.viewing.explorer.subject import Wish


@pytest.mark.parametrize("last", ["1", "-0.5"])
def test_paths_past_codes_that_hardly_differ_are_kept_apart(tmp_path, last):
    np.save(tmp_path / "z.npy", np.random.default_rng(0).normal(size=(41, 9)))
    codes = ExploredCodes(str(tmp_path / "z.npy"), tmp_path / "out")
    near = "code:" + "0.1234567," * 8
    folders = [
        codes.keep(Wish(stops=("3", near + end), frames=5, graph=codes.graph))
        for end in ("0.5", last)
    ]
    assert codes.kept() == [folder.rpartition("/")[2] for folder in folders[::-1]]
