"""What it costs to know who asks: the rate of requests with authentication over that without.

Measured inside the application, without HTTP's own cost, which would hide it. A request without
authentication can't be made; its time is that of a whole request less that of the check.
"""

import base64
import time
from collections.abc import Callable

from flask import Flask

from benchmarks.benches.bench import Bench, Results
from benchmarks.measurements import Spread
from benchmarks.session import Session
from benchmarks.stack import ACCOUNT
from benchmarks.tables import Table, format_milliseconds, format_ratio

TARGET = 0.8

N_REQUESTS = 300

PATH = "/runapp/rawdata/"


class AuthenticationBench(Bench):
    """The share of a request that is not authentication."""

    name = "authentication"

    def measure(self, session: Session) -> Results:
        """Time requests and checks, in turn."""
        from datarun_api.auth import verify_password

        app = session.idle_stack.app
        client = app.test_client()
        word = base64.b64encode(":".join(ACCOUNT).encode()).decode()
        headers = {"Authorization": f"Basic {word}"}

        def ask() -> None:
            response = client.get(PATH, headers=headers)
            assert response.status_code == 200, response.text

        # The first one derives a key, once a minute.
        first = _time(ask, 1)
        seconds: dict[str, list[float]] = {"request": [], "check": []}
        for _ in range(session.n_repeats):
            seconds["request"].append(_time(ask, N_REQUESTS))
            seconds["check"].append(_time_check(app, lambda: verify_password(*ACCOUNT)))
        session.tell(f"authentication: the first request took {format_milliseconds(first)}")
        return {"first": first, "seconds": seconds}

    def make_tables(self, results: Results) -> list[Table]:
        """Show what the check costs."""
        seconds = results["seconds"]
        row = [
            "HTTP Basic",
            format_milliseconds(Spread.of(seconds["request"]).median),
            f"{1e6 * Spread.of(seconds['check']).median:.0f} µs",
            format_ratio(_find_share(results).median),
            f"{TARGET:g}",
        ]
        columns = ["", "a request", "its check", "rate over that without", "target"]
        first = format_milliseconds(results["first"])
        note = f"The first request with a password, which derives its key, took {first}."
        return [Table("Authentication", columns, [row], [note])]

    def find_ratios(self, results: Results) -> dict[str, Spread]:
        """Give a request's time over that without the check: more is slower."""
        seconds = results["seconds"]
        pairs = zip(seconds["request"], seconds["check"], strict=True)
        return {
            "authentication, with over without": Spread.of(
                [whole / (whole - check) for whole, check in pairs]
            )
        }


def _find_share(results: Results) -> Spread:
    """Find the rate with authentication over the rate without."""
    seconds = results["seconds"]
    return Spread.of(
        [
            (whole - check) / whole
            for whole, check in zip(seconds["request"], seconds["check"], strict=True)
        ]
    )


def _time(act: Callable[[], object], count: int) -> float:
    """Say how many seconds an act takes."""
    start = time.perf_counter()
    for _ in range(count):
        act()
    return (time.perf_counter() - start) / count


def _time_check(app: Flask, check: Callable[[], object]) -> float:
    with app.app_context():
        assert check()
        return _time(check, N_REQUESTS)
