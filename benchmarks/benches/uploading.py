"""How long it takes to upload 100 MB, and what it costs the API in memory.

The floor sends the bytes over a socket of the loopback interface to a thread that hashes them and
writes them to disk. What is sent to datarun is made before the clock starts; what the client needs
to pack the JSON text is shown apart. A raw body is sent first, and the data set that names it then.
"""

import hashlib
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import requests

from benchmarks.benches.bench import Bench, Results
from benchmarks.measurements import Spread, divide
from benchmarks.memory import watch_memory
from benchmarks.session import Session
from benchmarks.stack import Stack
from benchmarks.tables import Table, format_megabytes, format_milliseconds, format_ratio
from datarun_client.codec import encode_bytes

N_BYTES = 100_000_000

FILE_NAME = "data.csv"

_CHUNK = 1 << 18

TARGET = 3.0

FLOOR = "floor"
ENCODE = "encode"

Send = Callable[[], object]


@dataclass(frozen=True)
class Way:
    """A way to upload a data set.

    Attributes
    ----------
    name, title : str
    prepare : callable
        Makes what is sent, for a stack, the data set's name and its file; gives what sends it.
    target : float or None
        What datarun should reach, over the floor.
    """

    name: str
    title: str
    prepare: Callable[[Stack, str, bytes], Send]
    target: float | None = None


class UploadingBench(Bench):
    """A data set of 100 MB, beside the floor."""

    name = "uploading"

    def measure(self, session: Session) -> Results:
        """Upload in turn; each time another file, since files are kept by their hash."""
        idle = session.idle_stack
        ways = [way for way in WAYS if way.target is None or idle.stack.has("uploads/")]
        seconds: dict[str, list[float]] = {}
        growth: dict[str, list[int]] = {}
        peaks: dict[str, int] = {}
        for repeat in range(session.n_repeats):
            session.tell(f"uploading: repeat {repeat + 1} of {session.n_repeats}")
            content = make_numbers(len(WAYS) * repeat)
            seconds.setdefault(FLOOR, []).append(send_to_disk(session.site.folder, content))
            for place, way in enumerate(ways):
                content = make_numbers(len(WAYS) * repeat + place)
                start = time.perf_counter()
                send = way.prepare(idle.stack, f"{way.name} {repeat}", content)
                prepared = time.perf_counter()
                with watch_memory(idle.api_processes) as watch:
                    send()
                seconds.setdefault(way.name, []).append(time.perf_counter() - prepared)
                growth.setdefault(way.name, []).append(watch.growth)
                peaks[way.name] = max(watch.peak, peaks.get(way.name, 0))
                if way.target is None:
                    seconds.setdefault(ENCODE, []).append(prepared - start)
        return {"seconds": seconds, "growth": growth, "peak": peaks}

    def make_tables(self, results: Results) -> list[Table]:
        """Show times and memory."""
        seconds = results["seconds"]
        columns = ["", "time", "over the floor", "target", "API's memory", "a process at most"]
        floor = format_milliseconds(Spread.of(seconds[FLOOR]).median)
        table = Table(
            "Uploading 100 MB", columns, [["floor: socket, SHA-256, disk", floor, *[""] * 4]]
        )
        for way in WAYS:
            if way.name not in seconds:
                table.notes.append(f"This datarun takes no {way.title}.")
                continue
            ratio = Spread.of(divide(seconds[way.name], seconds[FLOOR]))
            table.rows.append(
                [
                    way.title,
                    format_milliseconds(Spread.of(seconds[way.name]).median),
                    format_ratio(ratio.median),
                    f"{way.target:g}" if way.target else "",
                    f"+{format_megabytes(Spread.of(results['growth'][way.name]).highest)}",
                    format_megabytes(results["peak"][way.name]),
                ]
            )
        encode = format_milliseconds(Spread.of(seconds[ENCODE]).median)
        table.notes.append(f"The client took {encode} to make the JSON text.")
        return [table]

    def find_ratios(self, results: Results) -> dict[str, Spread]:
        """Give datarun's times over the floor's."""
        seconds = results["seconds"]
        return {
            f"uploading, {way.title}, datarun over floor": Spread.of(
                divide(seconds[way.name], seconds[FLOOR])
            )
            for way in WAYS
            if way.name in seconds
        }


def prepare_json(stack: Stack, name: str, content: bytes) -> Send:
    """Make a data set as JSON text."""
    text = orjson.dumps({**describe_raw_data(name), "files": {FILE_NAME: encode_bytes(content)}})
    return lambda: stack.post_text("rawdata/", text)


def prepare_form(stack: Stack, name: str, content: bytes) -> Send:
    """Make a data set as a form with the file as a part."""
    fields: list[tuple[str, Any]] = [
        ("json", (None, orjson.dumps(describe_raw_data(name)), "application/json")),
        ("files", (FILE_NAME, content, "application/octet-stream")),
    ]
    request = requests.Request("POST", stack.url, files=fields).prepare()
    headers = {"Content-Type": request.headers["Content-Type"]}
    return lambda: stack.ask("POST", "rawdata/", data=request.body, headers=headers)


def prepare_raw(stack: Stack, name: str, content: bytes) -> Send:
    """Send the file as a raw body, then the data set that names it."""

    def send() -> object:
        headers = {"Content-Type": "application/octet-stream"}
        upload = stack.ask("POST", "uploads/", data=content, headers=headers)
        uploads = {FILE_NAME: upload["upload_id"]}
        return stack.ask("POST", "rawdata/", json={**describe_raw_data(name), "uploads": uploads})

    return send


def describe_raw_data(name: str) -> dict[str, str]:
    """Describe a data set, without its file."""
    return {"name": name, "target_column": "y", "workflow_elements": "classifier"}


WAYS = (
    Way("json", "base64 + zlib in JSON", prepare_json),
    Way("form", "multipart form", prepare_form, TARGET),
    Way("raw", "raw body", prepare_raw, TARGET),
)


def make_numbers(seed: int) -> bytes:
    """Make a CSV of numbers."""
    numbers = np.random.default_rng(seed).integers(0, 1_000_000, 1_000_000)
    lines = b"".join(b"%d,%d\n" % (number, number % 2) for number in numbers.tolist())
    return (b"x,y\n" + lines * (N_BYTES // len(lines) + 1))[:N_BYTES].rpartition(b"\n")[0]


def send_to_disk(folder: Path, content: bytes) -> float:
    """Send bytes to a thread that hashes and keeps them, and say how many seconds that took."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        tempfile.TemporaryFile(dir=folder) as file,
    ):

        def keep() -> None:
            sha256 = hashlib.sha256()
            connection, _ = listener.accept()
            with connection:
                while chunk := connection.recv(_CHUNK):
                    sha256.update(chunk)
                    file.write(chunk)

        thread = threading.Thread(target=keep)
        thread.start()
        start = time.perf_counter()
        with socket.create_connection(listener.getsockname()) as sender:
            sender.sendall(content)
        thread.join()
        return time.perf_counter() - start
