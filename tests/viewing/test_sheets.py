"""Sheets of pictures: what is read of a film, what comes back of a sheet, and how large it is."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxsurf.frames import media
from jaxsurf.viewing import sheets

RANDOM = np.random.default_rng(0)


def cells(sheet, number):
    """Return the cells of a sheet as pictures."""
    with Image.open(io.BytesIO(sheet.content)) as image:
        picture = np.asarray(image)
    wide, high = sheet.cell
    places = [divmod(place, sheet.across) for place in range(number)]
    corners = (picture[row * high :, column * wide :] for row, column in places)
    return np.stack([corner[: sheet.height, : sheet.width] for corner in corners])


def film(number, channels):
    """Return frames of which some are equal to the ones before, which files merge."""
    shown = RANDOM.integers(0, 256, (3, 7, 5, channels), dtype=np.uint8)
    frames = shown[np.sort(RANDOM.integers(0, 3, number))]
    if channels == 4:
        frames[..., 3] |= 1  # colours where nothing is seen are not kept
    return frames


@pytest.mark.parametrize("frame_ms", [20.0, 33.4, 60.0, 105.0])
@pytest.mark.parametrize("number", [1, 2, 47])
def test_frames_of_a_film_are_found_by_their_time(frame_ms, number):
    frames, clear = film(number, 3), film(number, 4)
    every, some = np.arange(number), np.arange(0, number, 3)

    def read(content, kept):
        return sheets.read_film(content, frame_ms=frame_ms, kept=kept, side=7)

    gif, png = media.gif(frames, frame_ms=frame_ms), media.apng(clear, frame_ms=frame_ms)
    np.testing.assert_array_equal(read(gif, every)[..., :3], frames)
    np.testing.assert_array_equal(read(png, every), clear)
    np.testing.assert_array_equal(read(png, some), clear[some])


def test_a_film_comes_back_exactly_with_its_opacity():
    for channels, write in ((4, media.apng), (3, media.gif)):
        frames = film(11, channels)
        sheet = sheets.of_film(write(frames), frame_ms=media.FRAME_MS, kept=np.arange(11))
        assert (sheet.width, sheet.height, sheet.opacity) == (5, 7, channels == 4)
        np.testing.assert_array_equal(cells(sheet, 11), frames)


def test_large_and_long_films_stay_small():
    noise = RANDOM.integers(0, 256, (9, 300, 200, 3), dtype=np.uint8)
    sheet = sheets.of_film(media.apng(noise), frame_ms=media.FRAME_MS, kept=np.arange(9))
    assert (sheet.width, sheet.height) == (171, 256)
    assert len(sheet.content) < noise.size / 4  # noise is the worst


def test_thumbnails_do_not_run_into_one_another():
    levels = np.arange(0, 250, 10, dtype=np.uint8)[:, None, None, None]
    images = np.broadcast_to(levels, (25, 67, 130, 3))
    sheet = sheets.of_thumbnails([images[:11], images[11:]])
    assert (sheet.width, sheet.height, sheet.cell) == (64, 33, (64, 40))
    found = cells(sheet, 25).astype(int)
    assert np.abs(found - levels).max() <= 1


@pytest.mark.parametrize("size", [(40, 3), (3, 17_000)])
def test_a_picture_alone_is_its_own_sheet(size):
    picture = RANDOM.integers(1, 256, (*size, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(sheets.of_frames(picture[None]).content)) as image:
        assert np.array_equal(image, picture)


def test_what_is_no_film_is_refused():
    gif = media.gif(film(47, 3))
    with pytest.raises(ValueError, match="it is no film"):
        sheets.read_film(gif[: len(gif) // 2], frame_ms=60, kept=np.arange(47), side=7)
