"""`python -m plangate_inbox` serves the review page.

Exit status: 0 done; 1 refused, with the reason on standard error; 2 wrong settings.
"""

from __future__ import annotations

import asyncio
import sys

from plangate_core.process.environment import VariableMisspelt, check_variables
from plangate_core.process.settings import SettingsRefused, read_settings
from plangate_core.process.standard_output import OutputRefused, ReaderGone
from plangate_core.rpc.channel import ChannelRefused
from plangate_core.rpc.telemetry import TelemetryRefused, configure_logging
from plangate_core.rpc.tls import TlsFilesInvalid
from plangate_inbox.notifications.notify_file import NotifyFileInvalid
from plangate_inbox.notifications.position import NotificationsRefused
from plangate_inbox.server import StartRefused, serve
from plangate_inbox.settings import InboxSettings

_REFUSALS = (StartRefused, TlsFilesInvalid, TelemetryRefused, NotificationsRefused, ChannelRefused, OutputRefused)


def main() -> int:
    """Serve until a signal; returns the exit status."""
    try:
        settings = read_settings(InboxSettings)
        configure_logging(settings)
        check_variables(InboxSettings)
        asyncio.run(serve(settings))
    except (SettingsRefused, VariableMisspelt) as refused:
        return _refuse(str(refused), status=2)
    except _REFUSALS as refused:
        return _refuse(str(refused))
    except NotifyFileInvalid as invalid:
        for line in invalid.lines():
            _refuse(line)
        return 1
    except (KeyboardInterrupt, ReaderGone):
        return 1
    return 0


def _refuse(sentence: str, *, status: int = 1) -> int:
    print(f"plangate-inbox: {sentence}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
