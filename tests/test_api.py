"""What `import jaxsurf` offers, and what importing costs."""

import os
import pkgutil
import subprocess
import sys

import jaxsurf


def python(code, **surroundings):
    """Run a program of its own; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_any_module_chooses_no_device():
    """Where several hosts work together, they must find each other before JAX finds its devices."""
    modules = [module.name for module in pkgutil.walk_packages(jaxsurf.__path__, "jaxsurf.")]
    assert len(modules) > 50
    # With a platform that there is not, the first thing that needs a device would fail.
    python(f"import {', '.join(modules)}", JAX_PLATFORMS="nowhere")
