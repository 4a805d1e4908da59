"""``manage.py sagas …``: the same commands as ``celery -A … sagas``, on the app that ``settings.SAGAS`` binds."""

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from itertools import islice
from typing import Any

import click
from django.core.management.base import BaseCommand, CommandError

from sagas.cli import sagas as group
from sagas.contrib.django.binding import bound_sagas

#: Options of the commands that are followed by a value, whatever it looks like.
TAKES_VALUE = {
    name
    for command in group.commands.values()
    for option in command.params
    if isinstance(option, click.Option) and not option.is_flag
    for name in option.opts
}
#: Django's own options, which may be anywhere.
FLAGS_OF_DJANGO = {"--traceback", "--no-color", "--force-color", "--skip-checks", "--version"}
VALUES_OF_DJANGO = {"--settings", "--pythonpath", "--verbosity", "-v"}


class Command(BaseCommand):
    """Hands the command line to click."""

    help = "Migrate the tables of the sagas, look at instances, act on them."
    # An operator who looks for the reason of an outage should not have to mend the templates first.
    requires_system_checks: Sequence[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> Any:
        parser = super().create_parser(prog_name, subcommand, add_help=False, **options)
        parser.add_argument("--skip-checks", action="store_true")
        parser.add_argument("args", nargs="*")
        parse = parser.parse_args
        parser.parse_args = lambda args=(), namespace=None: parse(_djangos_first(args), namespace)
        return parser

    def print_help(self, prog_name: str, subcommand: str) -> None:
        """Print the help for ``manage.py help sagas``."""
        self.execute("--help", no_color=False, force_color=False)

    def handle(self, *arguments: str, **options: Any) -> None:
        output = StringIO()
        try:
            with redirect_stdout(output):
                group.main(
                    list(arguments) or ["--help"],
                    prog_name="manage.py sagas",
                    obj=bound_sagas(),
                    standalone_mode=False,
                    help_option_names=["-h", "--help"],
                )
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            usage = f"{context.get_usage()}\n" if context else ""
            raise CommandError(f"{usage}{error.format_message()}", returncode=error.exit_code) from error
        except SystemExit as error:
            if error.code:
                raise CommandError("problems found", returncode=int(error.code)) from error
        finally:
            self.stdout.write(output.getvalue(), ending="")


def _djangos_first(arguments: Sequence[str]) -> list[str]:
    """Return Django's options, then ``--``, then everything for click."""
    own: list[str] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        name = argument.partition("=")[0]
        if name in FLAGS_OF_DJANGO | VALUES_OF_DJANGO or argument.startswith("-v"):
            own += [argument, *islice(waiting, argument in VALUES_OF_DJANGO)]
        elif argument == "--":
            rest += [argument, *waiting]
        else:
            rest += [argument, *islice(waiting, argument in TAKES_VALUE)]
    return [*own, "--", *rest]
