"""`datarun data`: data sets and their splits."""

from pathlib import Path

import click

from datarun_client.client import RANDOM_STATE, Client
from datarun_client.commands.connection import open_client
from datarun_client.commands.output import (
    describe_age,
    describe_bytes,
    describe_seconds,
    json_option,
    print_json,
    print_pairs,
    print_table,
)
from datarun_client.commands.words import SHARE, NumberOrName, Size, random_state_option
from datarun_client.kits import Kit
from datarun_client.records import RawData
from datarun_client.states import SplitState, WorkflowElement

held_out_option = click.option(
    "--held-out-test",
    type=SHARE,
    metavar="SHARE",
    help="The share of the rows that is held out, such as 0.2.",
)

time_limit_option = click.option(
    "--time-limit", type=float, metavar="SECONDS", help="For a whole fold."
)
memory_limit_option = click.option(
    "--memory-limit", type=Size(), metavar="BYTES", help="For a fold, such as 2G."
)


@click.group()
def data() -> None:
    """Add, split, show and remove data sets."""


@data.command()
@click.argument("name")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--target", required=True, metavar="COLUMN", help="The column to predict.")
@click.option(
    "--workflow",
    required=True,
    metavar="ELEMENTS",
    help=f"What submissions consist of, such as 'feature_extractor, classifier'; of "
    f"{', '.join(WorkflowElement)}.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    help="What folds are scored by: one of scikit-learn's scorers; may be given again.",
)
@held_out_option
@random_state_option
@time_limit_option
@memory_limit_option
@json_option
def add(
    name: str,
    files: tuple[Path, ...],
    target: str,
    workflow: str,
    metrics: tuple[str, ...],
    held_out_test: float | None,
    random_state: int,
    time_limit: float | None,
    memory_limit: int | None,
    as_json: bool,
) -> None:
    """Add a data set called NAME, of one CSV or of FILES with a reader (.py) among them.

    With --held-out-test it is split at once.
    """
    client = open_client()
    found = client.create_raw_data(name, files, target, workflow, time_limit, memory_limit, metrics)
    if held_out_test is not None:
        found = split_and_wait(client, found, held_out_test, random_state)
    show_raw_data(found, as_json)
    if as_json:
        return
    if found.split_state is SplitState.NONE:
        click.echo(f"Next: datarun data split {name} --held-out-test 0.2")
    else:
        click.echo(f"Next: datarun submit FOLDER --data {name}")


@data.command("add-kit")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", help="What to call it; as its folder by default.")
@click.option(
    "--data-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder whose data/ is taken in place of the kit's, such as one with the hidden rows.",
)
@time_limit_option
@memory_limit_option
@json_option
def add_kit(
    folder: Path,
    name: str | None,
    data_dir: Path | None,
    time_limit: float | None,
    memory_limit: int | None,
    as_json: bool,
) -> None:
    """Add the RAMP kit in FOLDER as a data set: its problem.py, its data/ and what else it needs.

    Its problem.py reads the train and the test set on a worker, and this waits for it. Submissions
    are scored by its score types, so there is no --metric.
    """
    kit = Kit(folder, data_dir)
    client = open_client()
    found = client.create_raw_data(
        name or kit.name,
        kit.list_files(),
        kit.target_column,
        kit.workflow_elements,
        time_limit,
        memory_limit,
    )
    found = split_and_wait(client, found)
    show_raw_data(found, as_json)
    if not as_json:
        click.echo(f"Next: datarun submit {folder}/submissions/NAME --data {found.name}")


@data.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the data sets."""
    found = open_client().list_raw_data()
    if as_json:
        print_json(found)
        return
    print_table(
        ("id", "name", "workflow", "target", "split", "train", "test"),
        (
            (
                entry.id,
                entry.name,
                entry.workflow_elements,
                entry.target_column,
                entry.split_state,
                entry.n_train,
                entry.n_test,
            )
            for entry in found
        ),
        "There are no data sets; add one with `datarun data add`.",
        flexible="name",
        expendable=("target", "test", "train", "workflow"),
    )


@data.command()
@click.argument("data_set", type=NumberOrName())
@held_out_option
@random_state_option
@click.option("--own-reader", is_flag=True, help="Let the data set's own reader split.")
@json_option
def split(
    data_set: int | str,
    held_out_test: float | None,
    random_state: int,
    own_reader: bool,
    as_json: bool,
) -> None:
    """Split a data set into a train part and a held-out test part, and wait for it."""
    if own_reader == (held_out_test is not None):
        raise click.UsageError("Give either --held-out-test SHARE or --own-reader.")
    client = open_client()
    found = client.get_raw_data(data_set)
    show_raw_data(split_and_wait(client, found, held_out_test, random_state), as_json)


@data.command()
@click.argument("data_set", type=NumberOrName())
@json_option
def show(data_set: int | str, as_json: bool) -> None:
    """Show a data set."""
    show_raw_data(open_client().get_raw_data(data_set), as_json)


@data.command()
@click.argument("data_set", type=NumberOrName())
@click.option("--yes", "-y", is_flag=True, help="Don't ask.")
def rm(data_set: int | str, yes: bool) -> None:
    """Remove a data set with all its submissions and folds."""
    client = open_client()
    found = client.get_raw_data(data_set)
    if not yes:
        text = f"Remove data set {found.name!r} with all its submissions?"
        click.confirm(text, abort=True)
    client.delete_raw_data(found)
    click.echo(f"Removed {found.name}.")


def split_and_wait(
    client: Client,
    raw_data: RawData,
    held_out_test: float | None = None,
    random_state: int = RANDOM_STATE,
) -> RawData:
    """Ask for a split and wait for its end; errors as of `Client.wait_for_split`."""
    client.split_raw_data(raw_data, held_out_test, random_state)
    return client.wait_for_split(raw_data)


def show_raw_data(raw_data: RawData, as_json: bool) -> None:
    """Print a data set."""
    if as_json:
        print_json(raw_data)
        return
    print_pairs(
        (
            ("id", raw_data.id),
            ("name", raw_data.name),
            ("target", raw_data.target_column),
            ("workflow", raw_data.workflow_elements),
            ("metrics", ", ".join(raw_data.metrics) or None),
            ("time limit", describe_seconds(raw_data.time_limit) or None),
            ("memory limit", describe_bytes(raw_data.memory_limit) or None),
            ("split", raw_data.split_state),
            ("split error", raw_data.split_error),
            ("train rows", raw_data.n_train),
            ("test rows", raw_data.n_test),
            ("created", describe_age(raw_data.created_at)),
        )
    )
