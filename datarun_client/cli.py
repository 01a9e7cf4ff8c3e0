"""The command `datarun`.

The client's own commands are in `datarun_client.commands`. Those of the other packages (``up``,
``demo``, ``run-local`` and the operator's) are found by entry points in the group
``datarun.commands``, so that the client never imports the packages that import it; a command whose
extra isn't installed is left out.
"""

from importlib.metadata import entry_points
from typing import Any

import click

from datarun_client import __version__
from datarun_client.commands import data, folds, login, machines, scores, submissions
from datarun_client.commands.output import clean
from datarun_client.errors import DatarunError
from datarun_client.exit_codes import find_exit_code

COMMANDS_GROUP = "datarun.commands"


class PluginGroup(click.Group):
    """A click group that looks for further commands among the entry points."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands that can be run here."""
        plugins = {point.name for point in entry_points(group=COMMANDS_GROUP)}
        found = {name for name in plugins if self.get_command(ctx, name)}
        return sorted({*super().list_commands(ctx), *found})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command by its name; None if its package or extra isn't there."""
        own = super().get_command(ctx, cmd_name)
        if own:
            return own
        for point in entry_points(group=COMMANDS_GROUP, name=cmd_name):
            try:
                command: click.Command = point.load()
            except ModuleNotFoundError as error:
                if (error.name or "").startswith("datarun"):
                    raise
                return None
            return command
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that a command line names; if its extra isn't installed, say which."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            for point in entry_points(group=COMMANDS_GROUP, name=args[0]):
                extra = point.module.partition(".")[0].removeprefix("datarun_")
                text = f"{args[0]!r} needs more packages; install datarun with the extra {extra!r}."
                raise click.UsageError(text, ctx) from None
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what datarun itself says is wrong is said without a traceback."""
        try:
            return super().invoke(ctx)
        except DatarunError as error:
            click.echo(f"Error: {clean(str(error))}", err=True)
            ctx.exit(find_exit_code(error))


@click.group(cls=PluginGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="datarun")
def datarun() -> None:
    """Train and test the submissions of machine-learning data challenges."""


for _command in (
    login.login,
    login.logout,
    data.data,
    submissions.submit,
    submissions.status,
    submissions.predictions,
    scores.scores,
    folds.show,
    folds.logs,
    folds.cancel,
    folds.rerun,
    machines.workers,
    machines.queues,
):
    datarun.add_command(_command)
