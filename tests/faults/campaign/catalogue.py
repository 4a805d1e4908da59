"""All faults there are."""

from tests.faults.campaign import kills, lines, messages, operations, outages
from tests.faults.campaign.faults import FAULTS, Fault
from tests.faults.campaign.settings import Settings

__all__ = ["FAULTS", "chosen", "kills", "lines", "messages", "operations", "outages"]


def chosen(settings: Settings) -> list[Fault]:
    """Those that the settings name, by name or by group; `quick` names the quick ones."""
    wanted = [
        fault
        for fault in FAULTS.values()
        if fault.broker in (None, settings.broker)
        and not {fault.name, fault.group} & set(settings.without)
        and (
            not settings.faults
            or fault.name in settings.faults
            or fault.group in settings.faults
            or (fault.quick and "quick" in settings.faults)
        )
    ]
    if not wanted and settings.faults != ("none",):
        raise ValueError(f"no fault is called or belongs to any of {settings.faults}")
    return wanted
