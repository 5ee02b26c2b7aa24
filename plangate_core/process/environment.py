"""Environment variables with our prefix that nobody reads: a policy whose variable is misspelt is no policy at all."""

from __future__ import annotations

import difflib
import os
import re

import structlog

_PREFIX = "PLANGATE_"
# Every setting of every program of ours, without the prefix: they often share one environment. A test keeps it whole.
SETTINGS = frozenset(
    """
    ACTOR ALLOWED_MODELS APPROVAL_TTL_SECONDS AUTH_TOKENS_FILE CATALOGUE_FILE CHANNELZ CHECKPOINT_KEY_FILE
    DATABASE_URL DRAFT_CACHE_DIR DRAFT_CACHE_MAX_FILES DRAFT_CACHE_MEGABYTES DRAIN_SECONDS EVENT_LOOP
    FALLBACK_MODELS INBOX_LISTEN INBOX_SESSION_SECONDS INBOX_URL KEEPALIVE_SECONDS KEEPALIVE_TIMEOUT_SECONDS
    KERNEL_CONCURRENCY KERNEL_LEASE_SECONDS KERNEL_WAIT_SECONDS LEASE_SECONDS LOG_FORMAT LOG_LEVEL MAX_BATCH
    MAX_CONCURRENT_CALLS MAX_CONCURRENT_STREAMS MAX_PLANS_IN_FLIGHT MAX_PROMPT_CHARACTERS MAX_REQUEST_BYTES
    MAX_SIMULATIONS MAX_WAITING_WRITES METRICS_LISTEN MIN_REMAINING_SECONDS MODEL MODEL_API_KEY MODEL_API_KEY_FILE
    MODEL_ATTEMPTS MODEL_ATTEMPT_TIMEOUT_SECONDS MODEL_BASE_URL MODEL_CATALOGUE_CHARACTERS MODEL_CIRCUIT_FAILURES
    MODEL_CIRCUIT_OPEN_SECONDS
    MODEL_CONNECT_TIMEOUT_SECONDS MODEL_CONTEXT_TOKENS MODEL_DIR MODEL_MAX_CONNECTIONS MODEL_MAX_OUTPUT_TOKENS
    MODEL_MAX_REPLY_BYTES MODEL_MODE MODEL_PARALLEL MODEL_PATH MODEL_PROMPT_CACHE_MIB MODEL_RECORD_FILE
    MODEL_REPLAY_FILE MODEL_SEED MODEL_TEMPERATURE MODEL_THREADS MODEL_TOKEN_BUDGET ON_REPEATED_ERROR OTLP_ENDPOINT
    PLANNER_IDENTITY PLANNER_LISTEN PLANNER_TARGET PLANNING_TIMEOUT_SECONDS PLAN_MAX_ATTEMPTS PLAN_TIMEOUT_SECONDS
    POLICY_FILE POLL_SECONDS RAW_REPLIES READ_CONNECTIONS READ_TIMEOUT_SECONDS RELOAD_POLL_SECONDS
    REQUEST_RETENTION_DAYS ROLES STORE_LISTEN STORE_TARGET STREAM_STALL_SECONDS SWEEP_SECONDS TIMEOUT_SECONDS TLS
    TLS_CA_FILE TLS_CERT_FILE TLS_CLIENT_CA_FILE TLS_CLIENT_CERT_FILE TLS_CLIENT_KEY_FILE TLS_KEY_FILE TOKEN
    TOKEN_FILE WATCH_BUFFER_BYTES WATCH_BUFFER_EVENTS WATCH_MAX_LAG_EVENTS WATCH_STALL_SECONDS
    """.split()  # noqa: SIM905 - ninety lines otherwise
)
# Of the container image and the Compose file.
_OTHERS = frozenset({"AS", "HEALTH_TARGET"})
# What Kubernetes adds for services named plangate-...
_ADDED = re.compile(r"(?:.+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT(?:_\d+_.+)?)")
_ALIKE = 0.7

_log = structlog.get_logger("plangate_core")


class VariableMisspelt(Exception):
    """A variable that is no setting, and is so like one that it must be meant; the message says which, on one line."""


def check_variables() -> None:
    """Warn of variables that are no settings. Raises VariableMisspelt."""
    unknown = sorted(
        name
        for name in os.environ
        if name.startswith(_PREFIX)
        and (rest := name.removeprefix(_PREFIX)) not in SETTINGS | _OTHERS
        and not _ADDED.fullmatch(rest)
    )
    for name in unknown:
        if close := difflib.get_close_matches(name.removeprefix(_PREFIX), sorted(SETTINGS), n=1, cutoff=_ALIKE):
            raise VariableMisspelt(f"{name} is no setting: {_PREFIX}{close[0]} is; unset it, or spell it so")
    if unknown:
        _log.warning("variables that are no settings", names=unknown)
