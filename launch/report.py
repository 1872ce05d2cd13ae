"""Show all that a working directory holds on one page, `report.html`.

python launch/report.py --workdir=runs/arm
"""

from jaxsurf.pipeline import command, options, report, trained

_WORKDIR = options.define_workdir()


def main() -> object:
    """Write the report."""
    return report.write(trained.open_run(_WORKDIR()))


if __name__ == "__main__":
    command.run(main)
