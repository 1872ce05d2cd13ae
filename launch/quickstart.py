"""See everything once: train on the robot arm, animate, measure. Eight minutes on two cores.

python launch/quickstart.py
"""

from jaxsurf.pipeline import quickstart
from jaxsurf.pipeline.command import options, script
from jaxsurf.pipeline.configuration import RunConfig

_WORKDIR = options.define_workdir("runs/quickstart")


def main() -> object:
    """Run the quickstart."""
    return quickstart.quickstart(RunConfig(), _WORKDIR())


if __name__ == "__main__":
    script.run(main)
