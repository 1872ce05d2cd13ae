import hashlib
from pathlib import Path

import pytest

from jaxsurf.errors import UserError
from jaxsurf.models.vgg import source, weights
from jaxsurf.models.vgg.source import Download
from jaxsurf.models.vgg.weights import OXFORD, TORCHVISION, UNPREPARED


@pytest.fixture
def published(tmp_path, random_weights, monkeypatch):
    """Lets a file of this machine stand in for what is published; returns its path."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "net" / "deep.npz"
    weights.save(path, random_weights(until="block4_conv1"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    offer = Download(path.as_uri(), "sha256", digest)
    monkeypatch.setattr(source, "DOWNLOADS", dict.fromkeys(source.DOWNLOADS, offer))
    return path


def test_shipped_weights_need_no_network(monkeypatch):
    monkeypatch.setattr(source, "fetch", None)
    found = source.find("oxford", ["relu1_2", "relu3_3"])
    assert found.preparation == OXFORD
    assert found.deepest == "relu3_3"


def test_deeper_layers_are_downloaded_once(published, tmp_path):
    assert source.find("oxford", ["relu4_1"]).deepest == "relu4_1"
    assert [path.name for path in (tmp_path / "cache" / "jaxsurf" / "vgg16").iterdir()] == [
        "deep.npz"
    ]
    published.unlink()
    assert source.find("torchvision", ["relu1_1"]).deepest == "relu4_1"


def test_a_damaged_download_is_fetched_again(published, tmp_path):
    source.find("torchvision", ["relu1_1"])
    kept = tmp_path / "cache" / "jaxsurf" / "vgg16" / "deep.npz"
    kept.write_bytes(b"half")
    source.find("torchvision", ["relu1_1"])
    assert kept.read_bytes() == published.read_bytes()


def test_another_file_than_the_published_is_refused_and_not_kept(published, tmp_path):
    published.write_bytes(published.read_bytes() + b"more")
    with pytest.raises(UserError, match=r"has the sha256 digest .* is expected; try again"):
        source.find("torchvision", ["relu1_1"])
    assert list((tmp_path / "cache" / "jaxsurf" / "vgg16").iterdir()) == []


def test_without_a_network_the_cure_is_named(published):
    published.unlink()
    with pytest.raises(UserError, match=r"cannot download file:.*; fetch it elsewhere and put it"):
        source.find("torchvision", ["relu1_1"])


def test_a_file_of_the_users(tmp_path, random_weights):
    weights.save(tmp_path / "mine.npz", random_weights(until="block1_conv2"))
    assert source.find(str(tmp_path / "mine.npz"), ["relu1_2"]).deepest == "relu1_2"
    with pytest.raises(UserError, match=r"mine\.npz end at relu1_2, but relu2_1 is asked"):
        source.find(str(tmp_path / "mine.npz"), ["relu2_1"])


def test_unprepared_input_is_for_torchvisions_weights_alone(tmp_path, random_weights):
    path = tmp_path / "mine.npz"
    weights.save(path, random_weights(preparation=TORCHVISION))
    assert source.find(str(path), ["relu1_1"], unprepared=True).preparation == UNPREPARED
    with pytest.raises(UserError, match="unprepared input is for torchvision's weights"):
        source.find("oxford", ["relu1_1"], unprepared=True)


def test_published_places_are_named_with_a_whole_digest():
    for name, download in source.DOWNLOADS.items():
        length = {"md5": 32, "sha256": 64}[download.algorithm]
        assert len(download.digest) == length, name
        assert Path(download.url).suffix in (".h5", ".pth")
