"""From what a user asks for to weights: shipped, downloaded, or from a file of the user's."""

import dataclasses
import hashlib
import logging
import shutil
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxsurf.errors import UserError
from jaxsurf.images.cache import default_folder
from jaxsurf.models.vgg import foreign, layers, weights
from jaxsurf.models.vgg.weights import OXFORD, TORCHVISION, UNPREPARED, Weights
from jaxsurf.writing import replacing

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Download:
    """A published weight file."""

    url: str
    algorithm: str
    digest: str


DOWNLOADS = {
    OXFORD.family: Download(
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5",
        "6d6bbae143d832006294945121d1f1fc",
    ),
    TORCHVISION.family: Download(
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "sha256",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
}


def find(source: str, relus: Sequence[str], *, unprepared: bool = False) -> Weights:
    """Return weights deep enough for some outputs.

    Args:
        source: `oxford`: those that come with jaxsurf, or for deeper outputs a download;
            `torchvision`: a download; anything else is the path of a weight file.
        relus: the outputs that will be asked for.
        unprepared: feed images with values in [-1, 1] as they are, as the report did;
            torchvision's weights only.

    Raises:
        UserError: an unknown output, a file that is wrong or missing, no network, or `unprepared`
            with other weights than torchvision's.
    """
    deepest = layers.relu(layers.up_to(relus)[-1])
    found = _find(source, deepest)
    if layers.RELUS.index(found.deepest) < layers.RELUS.index(deepest):
        raise UserError(
            f"the weights in {source} end at {found.deepest}, but {deepest} is asked for",
            cure="name a file with deeper ones",
        )
    if not unprepared:
        return found
    if found.preparation != TORCHVISION:
        raise UserError(
            f"unprepared input is for torchvision's weights, but {source} holds "
            f"{found.preparation.family}'s",
            cure="name torchvision's file, or leave the input prepared",
        )
    return dataclasses.replace(found, preparation=UNPREPARED)


def _find(source: str, deepest: str) -> Weights:
    if source not in DOWNLOADS:
        return foreign.read(Path(source).expanduser())
    if source == OXFORD.family:
        shipped = weights.shipped()
        if layers.RELUS.index(deepest) <= layers.RELUS.index(shipped.deepest):
            return shipped
    return foreign.read(fetch(DOWNLOADS[source], default_folder() / "vgg16"))


def fetch(download: Download, folder: Path) -> Path:
    """Return a published file, from the folder or downloaded into it.

    Raises:
        UserError: no network, or the file is not the one that was published.
    """
    path = folder / download.url.rpartition("/")[2]
    if path.is_file() and _digest(path, download.algorithm) == download.digest:
        return path
    _log.info("downloading %s", download.url)
    with replacing(path) as temporary:
        try:
            with urllib.request.urlopen(download.url) as response, temporary.open("wb") as file:
                shutil.copyfileobj(response, file)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise UserError(
                f"cannot download {download.url} ({error})",
                cure=f"fetch it elsewhere and put it at {path}, or name its place",
            ) from error
        found = _digest(temporary, download.algorithm)
        if found != download.digest:
            raise UserError(
                f"{download.url} has the {download.algorithm} digest {found}, but "
                f"{download.digest} is expected",
                cure="try again, or name a file that you trust",
            )
    return path


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
