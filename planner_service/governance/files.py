"""Catalogue and policy files: read together, swapped together, read again when they change.

A plan in the making keeps the `Governance` it began with.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Info

from plangate_core.catalogue.catalogue import load_catalogue
from plangate_core.catalogue.document import DocumentInvalid
from plangate_core.process.regular_file import file_stamp
from planner_service.governance.governance import Governance
from planner_service.governance.policy_file import PolicyInvalid, catalogue_policy, load_policy
from planner_service.governance.policy_review import review_action_roles

Stamps = tuple[tuple[int, ...], ...]

KnownRoles = Callable[[], frozenset[str] | None]
"""The roles that identities hold; None where callers name their roles themselves."""

_STILL_SECONDS = 0.2
_READS_AT_ONCE = 5

_log = structlog.get_logger(__name__)


class GovernanceRefused(Exception):
    """There is no usable catalogue or policy; the message says on one line where and why. `faults`: all of them."""

    def __init__(self, message: str, faults: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.faults = faults or [message]


def read_governance(
    catalogue_file: Path | None,
    policy_file: Path | None,
    metrics: GovernanceMetrics | None = None,
    known_roles: KnownRoles = lambda: None,
) -> GovernanceFiles:
    """Catalogue and policy as the settings name them. Raises GovernanceRefused."""
    if catalogue_file is None:
        raise GovernanceRefused(
            "no catalogue: name the YAML file of the actions that may be planned in PLANGATE_CATALOGUE_FILE"
        )
    try:
        return GovernanceFiles(catalogue_file, policy_file, metrics, known_roles)
    except DocumentInvalid as error:
        faults = error.lines()
        if isinstance(error, PolicyInvalid):
            faults += [f"warning: {warning}" for warning in error.warnings]
        elif policy_file is not None:
            # What is wrong with the policy whatever the catalogue says is to be seen in the same run.
            try:
                load_policy(policy_file)
            except PolicyInvalid as invalid:
                faults += invalid.lines()
        raise GovernanceRefused(str(error), faults) from error


class GovernanceMetrics:
    """Prometheus metrics of reloading."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reloads = Counter(
            "plangate_governance_reloads", "Reloads of catalogue and policy", ("outcome",), registry=registry
        )
        # A scraper sees them at 0 from the start: an increase from nothing is none.
        for outcome in ("changed", "unchanged", "refused"):
            self.reloads.labels(outcome)
        self.usable = Gauge(
            "plangate_governance_files_usable",
            "1 while the catalogue and policy files are those in force, 0 while a bad file is ignored",
            registry=registry,
        )
        self.usable.set(1)
        self.in_force = Info(
            "plangate_governance", "Digests of the catalogue and the policy in force", registry=registry
        )
        self.warnings = Gauge("plangate_catalogue_warnings", "Warnings about the catalogue in force", registry=registry)
        self.policy_warnings = Gauge(
            "plangate_policy_warnings", "Warnings about the policy in force", registry=registry
        )


class GovernanceFiles:
    """Catalogue and policy as their files say, reloaded when those change. A bad file keeps what was in force."""

    def __init__(
        self,
        catalogue_file: Path,
        policy_file: Path | None,
        metrics: GovernanceMetrics | None = None,
        known_roles: KnownRoles = lambda: None,
    ) -> None:
        """Reads both. `known_roles` is called at each reading. Raises CatalogueInvalid, PolicyInvalid."""
        self._known_roles = known_roles
        self._catalogue_file = catalogue_file
        self._policy_file = policy_file
        self._metrics = metrics or GovernanceMetrics(CollectorRegistry())
        # Who reads last has read the newest: two at once might put the older files in force.
        self._reading = threading.Lock()
        self._seen: Stamps = ()
        self.current = self._read()
        self.fault = ""
        self._measure()

    def log_warnings(self) -> None:
        """Log the warnings of the catalogue and the policy in force."""
        for warning in self.current.catalogue.warnings:
            _log.warning("in the catalogue", what=warning)
        for warning in self.current.policy.warnings:
            _log.warning("in the policy", what=warning)

    def reload(self) -> bool:
        """Read both again and put them in force. Returns False, and says why in `fault`, when one cannot be used.

        Takes seconds for a large policy; may be called in any thread.
        """
        with self._reading:
            try:
                fresh = self._read()
            except DocumentInvalid as error:
                self.fault = str(error)
                for fault in error.lines():
                    _log.error("reload refused: what was in force stays in force", fault=fault)
                self._metrics.reloads.labels("refused").inc()
                self._metrics.usable.set(0)
                return False
            changed = fresh.digest != self.current.digest
            self.current, self.fault = fresh, ""
            self._metrics.reloads.labels("changed" if changed else "unchanged").inc()
            self._metrics.usable.set(1)
            _log.info(
                "catalogue and policy read",
                changed=changed,
                catalogue_digest=fresh.catalogue.digest,
                policy_digest=fresh.policy.digest,
            )
            self._measure()
            self.log_warnings()
            return True

    async def watch(self, poll_seconds: float, on_reload: Callable[[bool], object]) -> None:
        """Reload whenever a file changes, until cancelled. `on_reload` is called with whether the files are in force.

        Polls: file events are lost on network file systems and on the mounts of containers. Reading and compiling
        happens in a thread, so that a large catalogue does not hold calls up.

        A file that changes is read once it is still: the first half of a policy is a policy too.
        """
        debouncer = ChangeDebouncer(self._seen)
        while True:
            await asyncio.sleep(min(poll_seconds, _STILL_SECONDS) if debouncer.waiting else poll_seconds)
            if debouncer.changed(self._stamps(), self._seen):
                on_reload(await asyncio.to_thread(self.reload))

    def _read(self) -> Governance:
        """Both files as they were at one time: again if one changed meanwhile. Orchestrators swap a whole directory."""
        for _ in range(_READS_AT_ONCE):
            self._seen = self._stamps()
            fresh = self._read_once()
            if self._stamps() == self._seen:
                break
        return fresh

    def _read_once(self) -> Governance:
        catalogue = load_catalogue(self._catalogue_file)
        known_roles = self._known_roles()
        for path, message in review_action_roles(catalogue, known_roles):
            catalogue.refuse(path, message)
        catalogue.raise_faults(str(self._catalogue_file))
        if self._policy_file is None:
            return Governance(catalogue, catalogue_policy())
        return Governance(catalogue, load_policy(self._policy_file, catalogue, known_roles))

    def _stamps(self) -> Stamps:
        return tuple(file_stamp(path) for path in (self._catalogue_file, self._policy_file) if path is not None)

    def _measure(self) -> None:
        current, metrics = self.current, self._metrics
        metrics.in_force.info({"catalogue": current.catalogue.digest, "policy": current.policy.digest})
        metrics.warnings.set(len(current.catalogue.warnings))
        metrics.policy_warnings.set(len(current.policy.warnings))


class ChangeDebouncer:
    """A change is over when two looks in a row see the same. `waiting`: after the first of them."""

    def __init__(self, stamps: Stamps) -> None:
        self._last = stamps
        self.waiting = False

    def changed(self, stamps: Stamps, in_force: Stamps) -> bool:
        """Whether the files differ from those in force and are no longer being written."""
        still = stamps == self._last
        self._last = stamps
        self.waiting = stamps != in_force and not still
        return stamps != in_force and still
