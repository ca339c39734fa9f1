"""`python -m sandbox [--host] [--port 9000]`: a WeChat on this machine until Ctrl-C."""

import argparse
import logging
import socket
import sys

from .app import create_app

RELAXATIONS = (
    "relaxed: notify_url may be http on a loopback address",
    "relaxed: the OAuth domain includes http://127.0.0.1:* and http://localhost:*",
    "relaxed: so do the payment directory and the H5 domain; nothing else is relaxed",
)


def main() -> None:
    """Bind first, so that a taken port is one sentence and not a traceback."""
    parser = argparse.ArgumentParser("sandbox", description="A WeChat on your own machine.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    options = parser.parse_args()
    logging.getLogger("sanic.root").setLevel(logging.ERROR)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        listener = socket.create_server((options.host, options.port), family=family)
    except OSError as error:
        sys.exit(f"cannot listen on {options.host}:{options.port}: {error.strerror}")
    app = create_app()

    @app.after_server_start
    async def announce(*_: object) -> None:
        host = f"[{options.host}]" if ":" in options.host else options.host
        print(f"sandbox http://{host}:{listener.getsockname()[1]}", *RELAXATIONS, sep="\n")
        sys.stdout.flush()

    app.run(sock=listener, single_process=True, motd=False, access_log=False)


if __name__ == "__main__":
    main()
