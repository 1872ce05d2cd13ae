"""How much memory there is, and what does not fit into it."""

import os

from jaxsurf.errors import UserError

MIB, GIB = 2**20, 2**30


def total_bytes() -> int | None:
    """Return the memory of the machine; None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # systems other than POSIX
        return None


def check_fits(size: int, *, origin: str, cure: str) -> None:
    """Refuse what is larger than all memory before any of it is taken.

    Args:
        size: in bytes.
        origin: what would take it, for the message.
        cure: what to do instead.

    Raises:
        UserError: it is larger; what is smaller may not fit beside other things all the same.
    """
    total = total_bytes()
    if total is not None and size > total:
        raise UserError(
            f"{origin} takes {size / GIB:,.1f} GiB unpacked, but this machine has "
            f"{total / GIB:,.1f} GiB of memory",
            cure=cure,
        )
