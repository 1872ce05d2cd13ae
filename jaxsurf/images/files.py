"""A user's own images: a folder of pictures, or a numpy file.

Arrays of a `.npy` file, and those that an `.npz` file holds uncompressed, are mapped rather than
loaded where they are large (`jaxsurf.mapped`).
"""

import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Real, Shaped, UInt8

from jaxsurf import mapped, memory
from jaxsurf.errors import UserError
from jaxsurf.images import cache, picture, pixels, stored
from jaxsurf.images.image_set import ImageSet

PICTURES = (".png", ".jpg", ".jpeg")
ARRAYS = (".npz", ".npy")
FILMS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".gif")


def open_path(
    path: Path, *, side: int | None = None, cache_dir: str | Path | None = None
) -> ImageSet:
    """Return the images of a folder or file.

    Args:
        path: a folder of PNG and JPEG files, or an .npz, .npy, PNG or JPEG file.
        side: height and width to fit all images to, in pixels; None keeps their own.
        cache_dir: where a large array goes that has to be converted; None means the user's cache.

    Raises:
        UserError: nothing is there, or it is not one of these, or its content is not good.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        return _open_folder(path, side)
    if not path.exists():
        raise UserError(f"there is no {path}", cure="give a folder or file that exists")
    if suffix in ARRAYS:
        return _open_array(path, side, cache_dir)
    if suffix in PICTURES:
        image = picture.open_image(path, side=side)[None]
        return ImageSet(image, name=path.name, image_names=(path.name,))
    if suffix in FILMS:
        raise UserError(
            f"{path} is a film, and reading films is not built yet",
            cure="save its frames as PNG files in a folder",
        )
    raise UserError(
        f"{path} is of no known kind",
        cure=f"give a folder, or a file that ends in {', '.join(ARRAYS + PICTURES)}",
    )


def _open_folder(folder: Path, side: int | None) -> ImageSet:
    """Return a folder's pictures in natural order: 2.png before 10.png."""
    try:
        files = sorted((file for file in folder.iterdir() if _is_picture(file)), key=_natural)
    except OSError as error:
        raise UserError(
            f"cannot read {folder}: {error.strerror or error}", cure="make it readable"
        ) from error
    if not files:
        raise UserError(f"{folder} holds no PNG or JPEG file", cure="choose another folder")
    images = [picture.open_image(file, side=side) for file in files]
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            raise UserError(
                f"{files[0].name} is {_size(images[0])} but {file.name} is {_size(image)}",
                cure="give a side to fit all images to",
            )
    names = tuple(file.name for file in files)
    return ImageSet(np.stack(images), name=f"folder {folder.name}", image_names=names)


def _is_picture(file: Path) -> bool:
    """Tell pictures from other files; some systems leave hidden companions of the same suffix."""
    return file.suffix.lower() in PICTURES and not file.name.startswith(".") and file.is_file()


def _natural(file: Path) -> list[tuple[int, int | str]]:
    """Return a sort key that compares runs of digits as numbers, and letters in one case."""
    parts = re.split(r"(\d+)", file.name.lower())
    # The last part decides between names that differ in case or leading zeros only.
    keys = [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]
    return [*keys, (2, file.name)]


def _size(image: picture.Pixels) -> str:
    """Return a picture's size as people write it."""
    return f"{image.shape[1]} x {image.shape[0]}"


def _open_array(path: Path, side: int | None, cache_dir: str | Path | None) -> ImageSet:
    """Return the images, and where it has them the factors, of a numpy file."""
    arrays = _read(path)

    def convert(rows: Shaped[np.ndarray, "..."]) -> UInt8[np.ndarray, "image height width 3"]:
        found = pixels.check(_to_pixels(rows, origin=str(path)), origin=str(path))
        return picture.resize(found, side)

    images = cache.converted(
        _pick(arrays, path), convert, how=f"RGB, side {side}", folder=cache_dir
    )
    if "factors" not in arrays:
        return ImageSet(images, name=path.name)
    factors, names = _factors(arrays, path)
    return ImageSet(images, name=path.name, factors=factors, factor_names=names)


def _factors(
    arrays: Mapping[str, Shaped[np.ndarray, "..."]], path: Path
) -> tuple[Real[np.ndarray, "image factor"], tuple[str, ...]]:
    """Return the factors and their names; numbers where the file names none."""
    factors = arrays["factors"]
    real = np.issubdtype(factors.dtype, np.number) and not np.iscomplexobj(factors)
    if factors.ndim != 2 or not real:
        raise UserError(
            f"the factors in {path} are {factors.dtype} of shape {factors.shape}",
            cure="give numbers, one row an image and one column a factor",
        )
    if not np.isfinite(factors).all():
        row = int(np.argmin(np.isfinite(factors).all(axis=1)))
        raise UserError(
            f"the factors in {path} are not all finite, the first such of image {row}",
            cure="give a number for each, or leave that image out",
        )
    if "factor_names" not in arrays:
        return factors, tuple(f"factor_{i}" for i in range(factors.shape[1]))
    names = arrays["factor_names"]
    if names.ndim != 1:
        raise UserError(
            f"factor_names in {path} has shape {names.shape}",
            cure="give a list of names, one a column of the factors",
        )
    return factors, tuple(map(str, names))


def _read(path: Path) -> Mapping[str, Shaped[np.ndarray, "..."]]:
    """Return the arrays of an .npz or .npy file by name."""
    try:
        # Opened here, since numpy leaves a damaged .npz file open.
        with path.open("rb") as file:
            large = path.stat().st_size > mapped.LARGE_BYTES
            if large and file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
                return {"images": _map(path)}
            file.seek(0)
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"images": loaded}
            _check_room(path, loaded)
            arrays = {name: _array(path, loaded, name) for name in loaded.files}
            for name, array in arrays.items():
                if not isinstance(array, np.ndarray):
                    raise ValueError(f"its member {name} is no array")
            return arrays
    # The last three: an archive with a password, or packed in a way that zipfile doesn't know, or a
    # header that claims more than there is.
    except (
        *(OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error),
        *(RuntimeError, NotImplementedError, MemoryError),
    ) as error:
        # The first line says what is wrong; those after it are numpy's advice to load pickles.
        reason = str(error).split("\n")[0]
        raise UserError(
            f"{path} cannot be read as plain arrays ({reason})",
            cure="save it with np.savez or np.save, without objects",
        ) from error


def _check_room(path: Path, loaded: np.lib.npyio.NpzFile) -> None:
    """Refuse an .npz file whose compressed arrays are larger than memory; others are mapped."""
    assert loaded.zip is not None, "it is open"
    packed = [one for one in loaded.zip.infolist() if one.compress_type != zipfile.ZIP_STORED]
    memory.check_fits(
        sum(one.file_size for one in packed),
        origin=str(path),
        cure="save it uncompressed, with np.savez: then it is mapped",
    )


def _array(path: Path, loaded: np.lib.npyio.NpzFile, name: str) -> Shaped[np.ndarray, "..."]:
    """Return an array of an .npz file, mapped if it is large and can be."""
    found = stored.open_member(path, name, least_bytes=mapped.LARGE_BYTES)
    return loaded[name] if found is None else found


def _map(path: Path) -> Shaped[np.ndarray, "..."]:
    """Return the array of a large .npy file; one in Fortran order is loaded."""
    found = np.lib.format.open_memmap(path, mode="r")
    if not found.flags.c_contiguous:
        cure = "save it in C order, np.save(file, np.ascontiguousarray(images)): then it is mapped"
        memory.check_fits(found.nbytes, origin=f"{path}, in Fortran order,", cure=cure)
        return np.array(found)
    return mapped.open_array(path, start=found.offset, shape=found.shape, dtype=found.dtype)


def _pick(arrays: Mapping[str, Shaped[np.ndarray, "..."]], path: Path) -> Shaped[np.ndarray, "..."]:
    """Return the array that holds the images: `images`, or else the only one."""
    candidates = [name for name in arrays if name not in ("factors", "factor_names")]
    if "images" in arrays:
        return arrays["images"]
    if len(candidates) == 1:
        return arrays[candidates[0]]
    raise UserError(
        f"{path} holds {', '.join(arrays) or 'no array'}, so which of them is images is unclear",
        cure="call the array 'images'",
    )


def _to_pixels(
    rows: Shaped[np.ndarray, "..."], *, origin: str
) -> UInt8[np.ndarray, "image height width channel"]:
    """Return an array as uint8 RGB: floats from [0, 1], grey repeated; anything else as it is."""
    if np.issubdtype(rows.dtype, np.floating):
        rows = _from_unit(rows, origin=origin)
    grey = rows.ndim == 3 and rows.shape[-1] not in (1, 3, 4)
    if grey or (rows.ndim == 4 and rows.shape[-1] == 1):
        rows = np.repeat(rows.reshape(*rows.shape[:3], 1), 3, axis=-1)
    return rows


def _from_unit(rows: Shaped[np.ndarray, "..."], *, origin: str) -> UInt8[np.ndarray, "..."]:
    """Return floats in [0, 1] as uint8; refuse a range whose white is a guess."""
    low, high = (float(rows.min()), float(rows.max())) if rows.size else (0.0, 0.0)
    if not (low >= 0 and high <= 1):  # also true of NaN
        raise UserError(
            f"{origin} holds floats from {low:g} to {high:g}, but floats must lie in [0, 1]",
            cure="scale them, or save uint8",
        )
    return np.rint(rows * pixels.PEAK).astype(np.uint8)
