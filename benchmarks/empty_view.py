"""What HTTP costs by itself: a view that does nothing, behind the same gunicorn as datarun.

What datarun adds to a request can't be told without it: the client, gunicorn and Flask take their
time whatever a view does.
"""

import contextlib
import socket
import time
from collections.abc import Iterator

import requests
from flask import Flask, Response, jsonify, request

from benchmarks.site import BIN, BenchError, run_process

READY_TIME = 30.0
"""Seconds until it must answer."""

app = Flask(__name__)


@app.post("/")
def post() -> tuple[Response, int]:
    """Read what was posted, and say nothing of it."""
    request.get_data()
    return jsonify({}), 201


@contextlib.contextmanager
def serve_empty_view() -> Iterator[str]:
    """Serve the view, and give its address.

    Raises
    ------
    BenchError
        If it doesn't answer.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    words = ["-m", "gunicorn", "--config", "python:datarun_api.gunicorn_config", "--preload"]
    words += ["--no-control-socket", "--bind", f"127.0.0.1:{port}", "--log-level", "warning"]
    with run_process([BIN / "python", *words, "benchmarks.empty_view:app"]) as process:
        deadline = time.monotonic() + READY_TIME
        while True:
            with contextlib.suppress(requests.ConnectionError):
                requests.post(url, timeout=READY_TIME)
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError("The empty view doesn't answer.")
            time.sleep(0.1)
        yield url
