"""The working directory: its names, whether it can be written, fingerprints."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxsurf import workdir
from jaxsurf.errors import UserError
from jaxsurf.workdir import WorkDir


def contents(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_looking_whether_a_place_can_be_written_leaves_nothing(tmp_path):
    place = WorkDir(tmp_path / "not" / "yet")
    assert place.check_writable() is place
    assert contents(tmp_path) == []


def test_places_that_cannot_be_written_are_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for place in (file, file / "below", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match=r"cannot write to the working directory .*--workdir"):
            WorkDir(place).check_writable()
        assert not WorkDir(place).begun
    assert contents(tmp_path) == ["file"]


def test_a_surf_folder_tells_ends_and_graphs_apart():
    run = WorkDir(Path("run"))
    assert run.surf("3", "31") == Path("run/surf/3-31")
    assert run.surf("3", "31", label="knn9") == Path("run/surf/3-31-knn9")


def test_fingerprints_tell_dtype_shape_content_and_order_apart():
    array = np.arange(6, dtype=np.int32)
    prints = [
        workdir.fingerprint(*parts)
        for parts in (
            (array,),
            (array.view(np.uint32),),
            (array.reshape(2, 3),),
            (array[::-1],),
            (array, "a", "b"),
            (array, "b", "a"),
            (array, "ab"),
        )
    ]
    assert len(set(prints)) == len(prints)
    assert workdir.fingerprint(np.asfortranarray(array.reshape(2, 3))) == prints[2]
    assert json.dumps(prints)


def test_a_fingerprint_stays_what_it_was():
    # Changing it makes every cache and every working directory stale.
    assert workdir.fingerprint(np.arange(6, dtype=np.uint8), "text") == "de06f9c9717b94f5"
