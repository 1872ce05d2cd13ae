"""Quickstart of a user's own images: what is seen of them, what is chosen, what is made."""

import json
import re
import time
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from jaxsurf.errors import UserError
from jaxsurf.images.image_set import ImageSet
from jaxsurf.pipeline import quickstart
from jaxsurf.pipeline.run import open_run


def blobs(places, *, height=12, width=20):
    """Draw a spot at each place, on [-1, 1] down and along."""
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    down, along = np.asarray(places).T[:, :, None, None]
    spots = np.exp(-((rows - down) ** 2 + (columns - along) ** 2) / 0.1)
    return np.rint(255 * spots[..., None]).astype(np.uint8)


def test_what_is_seen_of_images_is_said_in_plain_words():
    random = np.random.default_rng(0)
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    ring = blobs(0.6 * np.stack([np.sin(turn), np.cos(turn)], axis=-1))
    seen = quickstart.look(ImageSet(ring, "ring"))
    assert (seen.number, seen.groups, seen.dimensions) == (60, 1, 2)
    assert "much alike: expect smooth motion" in str(seen)
    noise = random.integers(0, 256, (40, 12, 20, 1), dtype=np.uint8)
    seen = quickstart.look(ImageSet(noise, "noise"))
    assert seen.dimensions is None
    assert seen.roughness > quickstart.ROUGH
    assert re.search("40 images are few.*melt into one another.*more ways than 4", str(seen))
    cycle = np.tile(ring[::4], (6, 1, 1, 1))  # 15 poses, which others show again but for a pixel
    cycle[np.arange(90), 0, np.arange(90) % 20] += 1
    seen = quickstart.look(ImageSet(cycle, "cycle"))
    assert str(seen).startswith("what to expect: 90 images, 15 without copies, are few")
    assert seen.roughness > quickstart.SMOOTH
    far = np.concatenate([ring // 4, 255 - ring // 4])
    seen = quickstart.look(ImageSet(far, "two"))
    assert seen.groups == 2
    assert "form 2 groups that no image joins" in str(seen)
    with pytest.raises(UserError, match="all nearly equal"):
        quickstart.look(ImageSet(ring[[0] * 5], "one"))


@pytest.mark.core
def test_own_images_become_a_page_without_another_option(launch, tmp_path, cache_home):
    folder = tmp_path / "sprites"
    folder.mkdir()
    turn = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    for number, spot in enumerate(blobs(0.6 * np.stack([np.sin(turn), np.cos(turn)], axis=-1))):
        colours = np.broadcast_to(np.array([200, 90, 30], np.uint8), (*spot.shape[:2], 3))
        Image.fromarray(np.concatenate([colours, spot], -1)).save(folder / f"walk{number}.png")
    (folder / "notes.txt").write_text("spots")
    command = "quickstart", f"--images={folder}", f"--workdir={tmp_path / 'run'}", "--minutes=0.5"
    outcome = launch(*command)
    assert "8 images, 20 x 12 pixels, RGBA; 1 file left out: notes.txt (no image)" in outcome.err
    assert "what to expect: 8 images are few" in outcome.out, outcome.err
    assert outcome.out.strip().split("\n")[-1].startswith("everything on one page: ")
    run = open_run(tmp_path / "run")
    assert run.images.look.alpha
    # Fewer images than a batch are one step an epoch.
    assert run.step == int(re.search(r"\(about (\d+) steps of", outcome.err)[1])
    pairs = list((tmp_path / "run" / "surf").iterdir())
    assert len(pairs) == 3
    for pair in pairs:
        with Image.open(pair / "pixel.png") as film:
            assert (film.size, film.mode, film.n_frames > 9) == ((20, 12), "RGBA", True)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "1 file left out: notes.txt" in page
    assert "What to expect: 8 images are few" in page
    scores = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert scores["reconstruction"]["mse"] < 0.01
    # The same command goes on, whatever the time would allow now.
    again = launch(*command[:-1], "--minutes=3")
    assert "training is finished already" in again.err


def test_three_pairs_are_shown_wherever_there_are_three(run, monkeypatch):
    latents = SimpleNamespace(codes=np.array([[0.0], [1.0], [5.0]]))
    monkeypatch.setattr(quickstart, "encode_all", lambda run: latents)
    ends = quickstart._typical(run)
    assert {*ends[0]} == {0, 2}
    assert len({frozenset(pair) for pair in ends}) == 3


def test_large_images_are_made_smaller_where_the_time_is_short(monkeypatch):
    turn = np.linspace(0, 2 * np.pi, 9, endpoint=False)
    large = blobs(0.6 * np.stack([np.sin(turn), np.cos(turn)], axis=-1), height=300, width=400)
    monkeypatch.setattr(quickstart, "_step_s", lambda config, images: 0.015)

    def opened(config):
        step = 400 // (config.side or 400)
        return ImageSet(np.ascontiguousarray(large[:, ::step, ::step]), "large")

    monkeypatch.setattr(quickstart.configuration, "open_data", opened)
    whole, given = ImageSet(large, "large"), {"data.source": "large"}
    seen = quickstart.Seen(
        number=9, distinct=9, roughness=0.1, groups=1, residuals={2: 0.0}, dimensions=2
    )
    chosen = {}
    for minutes in (6, 20, 90):
        config, _ = quickstart._choose(whole, seen, given, minutes, time.monotonic())
        chosen[minutes] = config.data.side
    assert 32 < chosen[6] < chosen[20] <= chosen[90] == 256, chosen
