"""`datarun worker`: the commands for a machine that runs folds."""

import click

from datarun_worker.check import check
from datarun_worker.join import join


@click.group()
def worker() -> None:
    """Commands for a machine that runs folds."""


worker.add_command(check)
worker.add_command(join)
