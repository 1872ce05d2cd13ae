"""See everything once: train, animate, measure, on one page. The robot arm, or your own images.

    python launch/quickstart.py
    python launch/quickstart.py --images=pictures/ --minutes=10
    python launch/quickstart.py --images=cells.npz:frames --range=300,4000 --show=2,0,1

Images are a folder of pictures, a film, or a file of arrays. What they look like decides how large
they are made, in how many latent dimensions and for how long a model is trained.
"""

import os
from pathlib import Path

from absl import flags

from jaxsurf.errors import UserError
from jaxsurf.pipeline import cli
from jaxsurf.pipeline.configuration import Reading

_IMAGES = flags.DEFINE_string("images", None, "Folder, film or array file; else the robot arm.")
_MINUTES = flags.DEFINE_float("minutes", 10.0, "How long it may take with --images, about.", 0.5)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run [runs/quickstart, or runs/NAME of the images]."
)
_SIDE = flags.DEFINE_integer(
    "side", None, "Longer side that images are scaled to [chosen for the time].", 1
)
_READING = cli.define_fields(Reading)


def main() -> object:
    from jaxsurf.pipeline import configuration, experiments, quickstart

    given = _READING() | ({} if _SIDE.value is None else {"side": _SIDE.value})
    if not _IMAGES.value:
        own = [*given, *["minutes"] * flags.FLAGS["minutes"].present]
        if own or _IMAGES.value is not None:
            cause = f"--{own[0] if own else 'images'} means nothing without images"
            raise UserError(cause, cure="say where they are: --images=PATH")
        place = _WORKDIR.value or "runs/quickstart"
        return quickstart.quickstart(configuration.from_dotted(experiments.ARM), place)
    name = Path(os.path.abspath(_IMAGES.value.partition(":")[0])).stem  # noqa: PTH100  (of `..` too)
    place = _WORKDIR.value or f"runs/{name}"
    settings: dict[str, object] = {f"data.{setting}": value for setting, value in given.items()}
    return quickstart.of_images(_IMAGES.value, place, minutes=_MINUTES.value, settings=settings)


if __name__ == "__main__":
    cli.run(main)
