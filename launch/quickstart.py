"""See everything once: train on the robot arm, animate, measure. Eight minutes on two cores.

python launch/quickstart.py
"""

from jaxsurf.pipeline import cli

_WORKDIR = cli.define_string("workdir", "runs/quickstart")


def main() -> object:
    from jaxsurf.pipeline import quickstart
    from jaxsurf.pipeline.configuration import RunConfig

    return quickstart.quickstart(RunConfig(), _WORKDIR.value)


if __name__ == "__main__":
    cli.run(main)
