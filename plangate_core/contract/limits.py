"""The sizes and forms of the contract's fields (docs/reference/api.md): one source for planner, store and client.

Imports nothing but the standard library, so that the store's domain may use it too. Texts are counted in characters.
"""

from __future__ import annotations

import re

MAX_BATCH = 100
"""Entries of a batch call, and proposals or plans that one claim takes."""
MAX_NOTICES = 100
"""Notices, and approvals that do not count any more, that a proposal keeps: the newest."""
MAX_ASSUMED = 100
MAX_EFFECT_KEY_CHARACTERS = 256
MAX_JOBS = 100
MAX_FACTS = 5
"""Of one proposal."""
MAX_FACT_BYTES = 16 * 1024
"""Of the compact JSON of what was fetched: larger results are not shown to reviewers."""
MAX_LABELS = 64
MAX_DEPENDENCIES = 64
MAX_WARNINGS = 100
MAX_ACTION_NAMES = 1_000
"""Actions that one claim may name."""

MAX_PRIORITY = 1_000
"""Priorities go from -MAX_PRIORITY to MAX_PRIORITY."""
MAX_ATTEMPTS = 100
"""At executing a proposal, and at planning a queued plan."""
MAX_MODEL_CALLS = 10
MAX_TOKEN_BUDGET = 2**53
MAX_REQUIRED_APPROVALS = 100
MAX_APPROVAL_REQUIREMENTS = 20
"""Roles whose yes one proposal may need."""

MAX_PROMPT_CHARACTERS = 32_768
MAX_OBJECTIVE_CHARACTERS = 2_000
MAX_DESCRIPTION_CHARACTERS = 2_000
MAX_EVIDENCE_CHARACTERS = 4_000
MAX_COMMENT_CHARACTERS = 2_000
MAX_FAILURE_MESSAGE_CHARACTERS = 4_000
MAX_LABEL_VALUE_CHARACTERS = 256
MAX_NAME_CHARACTERS = 128
"""Ids, and names of actions, rules, roles and models."""

MAX_ARGS_BYTES = 64 * 1024
"""Of the compact JSON of a Struct."""
MAX_ARGS_DEPTH = 32
INEXACT_FROM = 2**53
"""From here on a double, which is what a number of a Struct is, may have been rounded: such numbers are refused."""
MAX_GENERATION_BYTES = 1024 * 1024
# gRPC clients take 4 MiB by default. A plan has room for what events and lists add to it, and for the reason
# of its end.
MAX_PLAN_BYTES = 4 * 1024 * 1024 - 64 * 1024

MIN_LEASE_SECONDS = 1
MAX_LEASE_SECONDS = 3_600
MAX_RETRY_DELAY_SECONDS = 365 * 86_400
# A Timestamp ends with the year 9999; a later one has no form in JSON.
MAX_APPROVAL_TTL_SECONDS = 36_500 * 86_400

LABEL_KEY = re.compile(r"[a-z][a-z0-9_.-]{0,62}")
JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
FAILURE_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
REQUEST_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
