"""The command line: ``python -m benchmarks --help``."""

import contextlib
import json
import os
import platform
import signal
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from benchmarks.benches import BENCHES, FoldsBench
from benchmarks.readme import write_readme
from benchmarks.reference import make_guard_table, read_reference, write_reference
from benchmarks.session import Session
from benchmarks.site import BenchError, clear_environ, open_site
from benchmarks.workloads import WORKLOADS

RESULTS = Path(__file__).with_name("results")
N_REPEATS = 3
VERSIONS = ("numpy", "pandas", "scikit-learn", "joblib", "rq", "redis")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHES)), metavar="[BENCH]...")
@click.option("--quick", is_flag=True, help="Leave out what is slow; compare with the reference.")
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=N_REPEATS,
    show_default=True,
    help="Interleaved repeats of each.",
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([workload.name for workload in WORKLOADS]),
    help="Only this workload of folds, or those.",
)
@click.option("--json", "path", type=click.Path(path_type=Path), help="Where the results go.")
@click.option(
    "--show",
    "earlier",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Measure nothing; show the results of an earlier run.",
)
@click.option("--save-reference", is_flag=True, help="Let this quick run be the reference.")
@click.option("--readme", is_flag=True, help="Put this run's table of folds into README.md.")
def main(
    names: tuple[str, ...],
    quick: bool,
    repeats: int,
    only: tuple[str, ...],
    path: Path | None,
    earlier: Path | None,
    save_reference: bool,
    readme: bool,
) -> None:
    """Measure datarun beside its peers: all BENCHes, or those that are named."""
    if earlier:
        results = json.loads(earlier.read_text())
    else:
        results = run(names or tuple(BENCHES), quick, repeats, frozenset(only))
        path = path or RESULTS / f"{datetime.now():%Y-%m-%d-%H%M%S}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1))
    show(results)
    if save_reference:
        if not results["is_quick"]:
            raise click.UsageError("the reference is made of a quick run; add --quick")
        write_reference(find_ratios(results))
    if readme:
        if FoldsBench.name not in results["benches"]:
            raise click.UsageError("the README shows the table of folds; add the bench `folds`")
        write_readme(results)
    click.echo(f"Results: {earlier or path}")


def run(
    names: tuple[str, ...], is_quick: bool, n_repeats: int, only: frozenset[str]
) -> dict[str, Any]:
    """Measure with nobody's settings, and stop at the end what was started, however it comes."""
    clear_environ()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return measure(names, is_quick, n_repeats, only)
    except BenchError as error:
        raise click.ClickException(str(error)) from None


def measure(
    names: tuple[str, ...], is_quick: bool, n_repeats: int, only: frozenset[str]
) -> dict[str, Any]:
    """Run benches, and give what goes into the JSON file."""
    start = time.monotonic()
    benches = {}
    with open_site() as site, contextlib.ExitStack() as resources:
        session = Session(site, resources, is_quick, n_repeats, only, tell)
        for name in names:
            benches[name] = BENCHES[name].measure(session)
    return {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - start, 1),
        "is_quick": is_quick,
        "n_repeats": n_repeats,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in VERSIONS},
        "benches": benches,
    }


def show(results: dict[str, Any]) -> None:
    """Print all tables."""
    for name, measured in results["benches"].items():
        for table in BENCHES[name].make_tables(measured):
            click.echo(str(table))
    if results["is_quick"]:
        click.echo(str(make_guard_table(find_ratios(results), read_reference())))


def find_ratios(results: dict[str, Any]) -> dict[str, Any]:
    """Give the ratios of all benches that ran."""
    return {
        name: spread
        for bench, measured in results["benches"].items()
        for name, spread in BENCHES[bench].find_ratios(measured).items()
    }


def tell(message: str) -> None:
    """Tell how far it is, where it doesn't mix with the tables."""
    click.echo(message, err=True)


if __name__ == "__main__":
    main()
