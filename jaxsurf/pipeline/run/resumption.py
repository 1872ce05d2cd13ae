"""May a run that was begun go on? Only if nothing that its result depends on has changed.

Settings are compared one by one. Data are judged by their images: a folder that was moved is the
same data, and a file of the same name may hold others. A working directory in which nothing was
begun takes everything.
"""

from typing import Any

from jaxsurf.errors import UserError
from jaxsurf.images.image_set import ImageSet
from jaxsurf.pipeline.run import configuration, trained
from jaxsurf.pipeline.run.configuration import RunConfig
from jaxsurf.workdir import WorkDir


def check_settings(workdir: WorkDir, config: RunConfig, *, extend: bool | None) -> None:
    """Refuse settings other than those that began the run, those of its data apart.

    Args:
        workdir: where the run was begun, if it was.
        config: the settings to go on with.
        extend: allow more epochs; None where nobody could have asked for that.

    Raises:
        UserError: a setting differs, and the message names both values; or there are checkpoints
            but no settings.
    """
    if not workdir.begun:
        if workdir.checkpoints.is_dir() and any(workdir.checkpoints.iterdir()):
            raise UserError(
                f"{workdir.root} holds checkpoints, but no config.json that says of what",
                cure=trained.PUT_BACK,
            )
        return
    begun, _ = trained.read_config(workdir)
    changed = configuration.differences(begun, config)
    if extend and config.training.num_epochs > begun.training.num_epochs:
        del changed["training.num_epochs"]
    changed = {name: both for name, both in changed.items() if not name.startswith("data.")}
    if changed:
        raise _begun_otherwise(workdir, changed, extensible=extend is not None)


def check_images(workdir: WorkDir, config: RunConfig, images: ImageSet) -> None:
    """Refuse other images than those that began the run.

    Raises:
        UserError: they differ, because another source was named or because its content changed.
    """
    if not workdir.begun:
        return
    begun, saved = trained.read_config(workdir)
    if images.fingerprint == saved["data"]["fingerprint"]:
        return
    before, now = vars(begun.data), vars(config.data)
    changed = {f"data.{n}": (before[n], now[n]) for n in before if before[n] != now[n]}
    if changed:
        raise _begun_otherwise(workdir, changed)
    trained.check_data(images, saved, workdir)


def _begun_otherwise(
    workdir: WorkDir, changed: dict[str, tuple[Any, Any]], *, extensible: bool = False
) -> UserError:
    """Return the error of settings that differ from those that began the run."""
    name, (before, now) = next(iter(changed.items()))
    more = f" (and {len(changed) - 1} more differ)" if len(changed) > 1 else ""
    cure = "use that value again, or a new --workdir"
    if name == "training.num_epochs" and now > before and extensible:
        cure += "; for more epochs add --extend"
    return UserError(
        f"{workdir.root} was begun with {name} = {before!r}, not {now!r}{more}", cure=cure
    )
