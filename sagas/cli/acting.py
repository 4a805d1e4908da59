"""The commands that act on an instance: each calls a handle's method, and prints the instance's status."""

import getpass
import json
from collections.abc import Callable
from typing import Any

import click

from sagas.cli.commands import bound_sagas, bound_store, cli_errors, in_short, json_line, sagas
from sagas.cli.finding import instance_of
from sagas.cli.saying import say
from sagas.handle import SagaHandle

#: The parameters of every action.
INSTANCE = click.argument("instance", metavar="ID")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object, with the names of show --json.")
NO_OBJECT = 'it must be a JSON object, as in {"shipment_id": "4711"}'


def _checked_reason(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("a reason is required; it is kept in the history to say why")
    return value


#: An option of every action on a saga's course.
REASON = click.option("--reason", required=True, callback=_checked_reason, help="Why; kept in the history.")


def _parsed(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    try:
        found = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"not valid JSON: {error}") from error
    if found is None:
        raise click.BadParameter(NO_OBJECT)
    return found


def _mapping(context: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, Any] | None:
    found = _parsed(context, parameter, value)
    if found is not None and not isinstance(found, dict):
        raise click.BadParameter(NO_OBJECT)
    return found


def _fitting(handle: SagaHandle, step: str | None, result: Any) -> Any:
    """Check that a result is one that a step can return: names and values, or anything if it is kept under one name."""
    if result is not None and not isinstance(result, dict) and handle.snapshot().output_of(step) is None:
        raise click.BadParameter(NO_OBJECT, param_hint="'--result'")
    return result


@sagas.command()
@INSTANCE
@REASON
@AS_JSON
@click.pass_context
def retry(context: click.Context, instance: str, reason: str, as_json: bool) -> None:
    """Let a failed instance go on; only what is missing runs again."""
    _act(context, instance, lambda handle: handle.retry(reason, by=who()), as_json)


@sagas.command()
@INSTANCE
@REASON
@AS_JSON
@click.pass_context
def cancel(context: click.Context, instance: str, reason: str, as_json: bool) -> None:
    """Stop forward work and undo what was done."""
    _act(context, instance, lambda handle: handle.cancel(reason, by=who()), as_json)


@sagas.command()
@INSTANCE
@REASON
@click.option("--step", help="The step at which it is stuck, if there are several.")
@click.option("--result", callback=_parsed, help="JSON object to use as the step's result, if other steps need it.")
@AS_JSON
@click.pass_context
def skip(context: click.Context, instance: str, reason: str, step: str | None, result: Any, as_json: bool) -> None:
    """Let a failed instance go on past the point where it is stuck: you vouch for it, and it is not run again."""

    def do(handle: SagaHandle) -> None:
        handle.skip(reason, step=step, result=_fitting(handle, step, result), by=who())

    _act(context, instance, do, as_json)


@sagas.command()
@INSTANCE
@REASON
@click.option("--step", help="The step, if it waits at several.")
@click.option("--happened/--not-happened", default=None, help="What you found out about an action in doubt.")
@click.option("--result", callback=_parsed, help="With --happened: JSON object to use as the action's result.")
@click.option(
    "--undo/--undone",
    default=None,
    help="With --happened, if the saga turns back: run the compensation now (default), or say it was undone by hand.",
)
@AS_JSON
@click.pass_context
def resolve(
    context: click.Context,
    instance: str,
    reason: str,
    step: str | None,
    happened: bool | None,
    result: Any,
    undo: bool | None,
    as_json: bool,
) -> None:
    """Let a failed instance go on with what you found out about an action in doubt, or undid by hand.

    An action in doubt has three answers: --happened, --not-happened, and the command retry. Without one of the first
    two, a compensation that failed was done by hand.
    """
    if result is not None and not happened:
        raise click.UsageError("--result is the action's result: pass --happened with it")
    if happened is None and undo:
        raise click.UsageError("--undo belongs to --happened: pass that too; retry runs a failed undo again")
    if happened is False and undo is not None:
        raise click.UsageError("--not-happened leaves nothing to undo: leave out --undo and --undone")

    def do(handle: SagaHandle) -> None:
        given = _fitting(handle, step, result)
        handle.resolve(reason, step=step, happened=happened, result=given, undo=undo is not False, by=who())

    _act(context, instance, do, as_json)


@sagas.command()
@INSTANCE
@click.argument("name")
@click.option("--payload", callback=_mapping, help="JSON object that is merged into the saga's data.")
@click.option("--key", help="Identifies this signal: a second one with the same key does nothing.")
@AS_JSON
@click.pass_context
def signal(
    context: click.Context, instance: str, name: str, payload: dict[str, Any] | None, key: str | None, as_json: bool
) -> None:
    """Send an instance the signal that it waits for, or will wait for."""
    _act(context, instance, lambda handle: handle.signal(name, payload, key=key, by=who()), as_json)


def _act(context: click.Context, instance: str, do: Callable[[SagaHandle], Any], as_json: bool) -> None:
    with cli_errors():
        handle = instance_of(bound_sagas(context), bound_store(context).instances, instance)
        do(handle)
        seen = handle.snapshot()
        say(json_line(in_short(seen)) if as_json else f"{seen.id} is {seen.status.value}")


def who() -> str:
    try:
        # The environment may hold a user name in another encoding.
        return getpass.getuser().encode(errors="replace").decode() or "operator"
    except (KeyError, OSError):
        return "operator"
