"""Show all that a working directory holds on one page, `report.html`.

python launch/report.py --workdir=runs/arm
"""

from jaxsurf.pipeline import cli

_WORKDIR = cli.define_string("workdir")
_CHECKPOINT = cli.define_string("checkpoint", "last")
_DATA = cli.define_string("data")


def main() -> object:
    from jaxsurf.pipeline import page
    from jaxsurf.pipeline.run import open_run

    return page.write(open_run(_WORKDIR.value, checkpoint=_CHECKPOINT.value, data=_DATA.value))


if __name__ == "__main__":
    cli.run(main)
