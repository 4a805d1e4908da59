"""The options of brokers that an application with sagas sets by default."""

from typing import Any

from celery.utils.functional import maybe_list

#: The names by which kombu's transports know these options; others ignore them. A list of brokers may mix several
#: kinds.
TRANSPORT_DEFAULTS: dict[str, dict[str, Any]] = {
    "redis": {"unacked_restore_interval": 1, "unacked_restore_throttle": 1},
    "sentinel": {"unacked_restore_interval": 1, "unacked_restore_throttle": 1},
    "amqp": {"confirm_publish": True},
    "pyamqp": {"confirm_publish": True},
}


def transport_defaults(conf: Any) -> dict[str, Any]:
    """Return the defaults of every broker that the app names: as one URL, a list, or separated by semicolons."""
    found: dict[str, Any] = {}
    for given in (conf.broker_url, conf.broker_read_url, conf.broker_write_url):
        for url in maybe_list(given) or ():
            for one in str(url).split(";"):
                for scheme, options in TRANSPORT_DEFAULTS.items():
                    if one.strip().startswith(scheme):
                        found |= options
    return found
