"""Say in the log when this process runs out of file descriptors: the loop itself is silent."""

import os

from checkout import log


async def look() -> None:
    """Open one descriptor and close it again; when there is none, buyers are turned away."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        advice = "raise LimitNOFILE or ulimit -n"
        log.warning("no file descriptors left", why=error.strerror, advice=advice)
