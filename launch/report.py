"""Show all that a working directory holds on one page, `report.html`.

python launch/report.py --workdir=runs/arm
"""

from jaxsurf.pipeline import report
from jaxsurf.pipeline.command import options, script
from jaxsurf.pipeline.run import open_run

_WORKDIR = options.define_workdir()
_CHECKPOINT = options.define_checkpoint()


def main() -> object:
    """Write the report."""
    return report.write(open_run(_WORKDIR(), checkpoint=_CHECKPOINT()))


if __name__ == "__main__":
    script.run(main)
