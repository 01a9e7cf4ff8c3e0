"""`datarun workers` and `datarun queues`: what runs the folds."""

import click

from datarun_client.commands.connection import open_client
from datarun_client.commands.output import (
    describe_age,
    describe_bytes,
    describe_seconds,
    json_option,
    print_json,
    print_table,
)


@click.command()
@json_option
def workers(as_json: bool) -> None:
    """List the workers, those heard of last first."""
    found = open_client().list_workers()
    if as_json:
        print_json(found)
        return
    print_table(
        ("worker", "host", "queues", "seen", "runs", "done", "isolation", "disk", "memory"),
        (
            (
                entry.name,
                entry.host,
                " ".join(entry.queues),
                describe_age(entry.last_seen) if entry.live else "silent",
                "" if entry.databoard_sf_id is None else f"fold {entry.databoard_sf_id}",
                entry.n_done,
                entry.isolation,
                describe_bytes(entry.free_disk),
                describe_bytes(entry.free_memory),
            )
            for entry in found
        ),
        "No worker was ever heard of; attach one with `datarun worker join`.",
        flexible="worker",
        expendable=("memory", "disk", "isolation", "host", "done", "queues"),
    )


@click.command()
@json_option
def queues(as_json: bool) -> None:
    """Show how long the queues are, and how fast they move."""
    found = open_client().list_queues()
    if as_json:
        print_json(found)
        return
    print_table(
        ("queue", "waiting", "oldest waits", "done last hour", "workers"),
        (
            (
                entry.name,
                entry.depth,
                describe_seconds(entry.oldest_wait),
                entry.done_last_hour,
                entry.live_workers,
            )
            for entry in found
        ),
        expendable=("done last hour", "oldest waits"),
    )
