"""Serve the folder of HTML reports on the loopback beside the Dagster UI, for as long as that runs."""

import os
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_LOOK_EVERY_SECONDS = 1.0


class _Quiet(SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


def serve(folder: Path, host: str, port: int) -> None:
    """Serve ``folder`` until the process that started this one has gone."""
    folder.mkdir(parents=True, exist_ok=True)
    server = ThreadingHTTPServer((host, port), partial(_Quiet, directory=str(folder)))
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_EVERY_SECONDS)
        server.shutdown()

    threading.Thread(target=watch, daemon=True).start()
    with server:
        server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
