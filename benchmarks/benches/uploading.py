"""How long it takes to upload 100 MB, and what it costs the API in memory.

The floor sends the bytes over a socket of the loopback interface to a thread that hashes them and
writes them to disk. As JSON, the text is made before the clock starts; what the client needs to
make it is shown apart.
"""

import hashlib
import socket
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import orjson

from benchmarks.benches.bench import Bench, Results
from benchmarks.idle_stack import IdleStack
from benchmarks.measurements import Spread, divide
from benchmarks.memory import watch_memory
from benchmarks.session import Session
from benchmarks.tables import Table, format_megabytes, format_milliseconds, format_ratio
from datarun_client.codec import encode_bytes

N_BYTES = 100_000_000

_CHUNK = 1 << 18


class UploadingBench(Bench):
    """A data set of 100 MB, beside the floor."""

    name = "uploading"

    def measure(self, session: Session) -> Results:
        """Upload in turn; each time another data set, since files are kept by their hash."""
        idle = session.idle_stack
        seconds: dict[str, list[float]] = {"floor": [], "json": [], "encode": []}
        growth = []
        for repeat in range(session.n_repeats):
            session.tell(f"uploading: repeat {repeat + 1} of {session.n_repeats}")
            content = make_numbers(repeat)
            seconds["floor"].append(send_to_disk(session.site.folder, content))
            with watch_memory(idle.api_processes) as watch:
                encode, upload = upload_json(idle, f"upload {repeat}", content)
            growth.append(watch.growth)
            seconds["encode"].append(encode)
            seconds["json"].append(upload)
        return {"seconds": seconds, "growth": {"json": growth}}

    def make_tables(self, results: Results) -> list[Table]:
        """Show times and memory."""
        seconds = results["seconds"]
        table = Table("Uploading 100 MB", ["", "time", "over the floor", "API's memory"])
        floor = format_milliseconds(Spread.of(seconds["floor"]).median)
        table.rows.append(["floor: socket, SHA-256, disk", floor, "", ""])
        ratio = Spread.of(divide(seconds["json"], seconds["floor"]))
        table.rows.append(
            [
                "base64 + zlib in JSON",
                format_milliseconds(Spread.of(seconds["json"]).median),
                format_ratio(ratio.median),
                f"+{format_megabytes(Spread.of(results['growth']['json']).highest)}",
            ]
        )
        encode = format_milliseconds(Spread.of(seconds["encode"]).median)
        table.notes.append(f"The client took {encode} to make the JSON text.")
        return [table]

    def find_ratios(self, results: Results) -> dict[str, Spread]:
        """Give datarun's times over the floor's."""
        seconds = results["seconds"]
        return {
            "uploading as JSON, datarun over floor": Spread.of(
                divide(seconds["json"], seconds["floor"])
            )
        }


def make_numbers(seed: int) -> bytes:
    """Make a CSV of numbers."""
    numbers = np.random.default_rng(seed).integers(0, 1_000_000, 1_000_000)
    lines = b"".join(b"%d,%d\n" % (number, number % 2) for number in numbers.tolist())
    return (b"x,y\n" + lines * (N_BYTES // len(lines) + 1))[:N_BYTES].rpartition(b"\n")[0]


def upload_json(idle: IdleStack, name: str, content: bytes) -> tuple[float, float]:
    """Post a data set: seconds to make the text and to send it."""
    start = time.perf_counter()
    text = orjson.dumps(
        {
            "name": name,
            "target_column": "y",
            "workflow_elements": "classifier",
            "files": {"data.csv": encode_bytes(content)},
        }
    )
    made = time.perf_counter()
    idle.stack.post_text("rawdata/", text)
    return made - start, time.perf_counter() - made


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
