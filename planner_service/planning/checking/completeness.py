"""Doubts about a plan, and words for the person who reviews it, from comparing its arguments with the request.

The commonest mistake of a model is to leave a step or a target out. What the request names exactly (numbers,
identifiers, #channels) and no argument mentions is pointed out; it does not stop the plan, because a request may name
things that need no argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from plangate_core.contract.limits import MAX_DESCRIPTION_CHARACTERS
from plangate_core.text.truncation import truncate
from planner_service.plan import Job
from planner_service.wording.words import words

MAX_MENTIONS = 8
MAX_QUOTE_CHARACTERS = 500
# Comparing everything with everything must stay cheap, also for a prompt of nothing but numbers.
MAX_COMPARED = 200

_CHANNEL = re.compile(r"(?<![\w#])#[A-Za-z][\w-]{0,79}")
_ADDRESS = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_QUOTED = re.compile(r"`([^`\n]{1,200})`|\"([^\"\n]{1,200})\"|“([^”\n]{1,200})”")
_WORD = re.compile(r"[A-Za-z0-9_/~.:@-]+")
_NUMBER = re.compile(r"(?<![\w.,-])-?\d{1,15}(?:,\d{3})*(?:\.\d{1,9})?(?![\w,]|\.\d)")
_DIGITS = re.compile(r"\d+(?:\.\d+)?")
_COUNTING = re.compile(r"\b(?:these|those|the|all|following|both)\s+\Z", re.IGNORECASE)
_SENTENCE = re.compile(r"[^.!?;\n]+(?:[.!?;](?!\s|$)[^.!?;\n]*)*[.!?;]?")
# A number may be given in another unit than the argument's: minutes for seconds, percent for a share, GB for MB.
_FACTORS = (60, 3600, 24, 1440, 86_400, 7, 100, 1000, 1024, 1024**2, 1024**3, 10**6, 10**9)


def warnings_for(prompt: str, jobs: Sequence[Job]) -> tuple[str, ...]:
    """What the request names exactly and no job mentions; empty when nothing is missing or there are no jobs."""
    if not jobs:
        return ()
    texts, numbers = _mentioned(jobs)
    missing = [mention for mention in _mentions(prompt, len(jobs)) if not _covered(mention, texts, numbers)]
    if not missing:
        return ()
    shown = ", ".join(missing[:MAX_MENTIONS]) + (" and more" if len(missing) > MAX_MENTIONS else "")
    return (f"this plan may be incomplete: the request names {shown}, and no job mentions it",)


def evidence_for(job: Job, prompt: str) -> str:
    """The sentence of the request that calls for a job: the one that says most of its arguments and of its name."""
    sentences = _sentences(prompt)
    if len(sentences) < 2:
        return truncate(sentences[0].text, MAX_QUOTE_CHARACTERS) if sentences else ""
    texts, numbers = _mentioned([job])
    wanted_texts = [text for text in islice(texts, MAX_COMPARED) if len(text) > 1]
    wanted_numbers = {_plain(number) for number in islice(numbers, MAX_COMPARED)}
    named = {word for word in words(job.action_name) if len(word) > 2}

    def likeness(sentence: _Sentence) -> int:
        mentions = sum(2 for text in wanted_texts if text in sentence.folded)
        mentions += 2 * len(wanted_numbers & sentence.numbers)
        return mentions + sum(1 for word in named if word in sentence.folded)

    best = max(sentences, key=likeness)
    return truncate(best.text if likeness(best) else prompt.strip(), MAX_QUOTE_CHARACTERS)


@dataclass(frozen=True, slots=True)
class _Sentence:
    """`folded`: as much of it as is compared, in small letters; `numbers`: those in it, as they are written."""

    text: str
    folded: str
    numbers: frozenset[str]


@lru_cache(maxsize=16)
def _sentences(prompt: str) -> tuple[_Sentence, ...]:
    """Kept for the next job of the same plan."""
    found = (match.group().strip() for match in islice(_SENTENCE.finditer(prompt), MAX_COMPARED))
    return tuple(
        _Sentence(text, folded, frozenset(_DIGITS.findall(folded)))
        for text in found
        if text and (folded := text[:MAX_DESCRIPTION_CHARACTERS].casefold())
    )


def _mentions(prompt: str, job_count: int) -> list[str]:
    """Numbers, #channels, addresses and identifiers, each once, in the order of the text."""
    found: dict[str, int] = {}
    for match in [*_CHANNEL.finditer(prompt), *_ADDRESS.finditer(prompt)]:
        found.setdefault(match.group(), match.start())
    for match in _QUOTED.finditer(prompt):
        text = next(group for group in match.groups() if group is not None).strip()
        if text and " " not in text:
            found.setdefault(text, match.start())
    for match in _WORD.finditer(prompt):
        word = match.group()
        if not word.isalnum() and _is_identifier(word := word.rstrip(".:@~-")):
            found.setdefault(word, match.start())
    for match in _NUMBER.finditer(prompt):
        # Three jobs stand for "these 3 hosts".
        before = prompt[max(0, match.start() - 20) : match.start()]
        if not (match.group() == str(job_count) and _COUNTING.search(before)):
            found.setdefault(match.group(), match.start())
    # An address contains identifiers; a channel may look like one: only the longest of those that overlap counts.
    names = sorted(found, key=found.__getitem__)[:MAX_COMPARED]
    return [name for name in names if not any(name != other and name in other for other in names)]


def _is_identifier(word: str) -> bool:
    """web-01, INC-1234, /var/log/app, user_id, checkout.api; not follow-up, e.g. or 3.5."""
    if len(word) < 3 or word.isalnum():
        return False
    letters = any(character.isalpha() for character in word)
    digits = any(character.isdigit() for character in word)
    if not letters:
        return False
    if "_" in word or "/" in word.strip("/") or word.startswith(("/", "~/")):
        return True
    if digits and "-" in word:
        return True
    parts = word.split(".")
    return len(parts) > 1 and all(len(part) > 1 for part in parts)


def _mentioned(jobs: Iterable[Job]) -> tuple[dict[str, None], dict[float, None]]:
    """Every text and every number in the arguments, in their order; texts in lower case, action names among them."""
    texts: dict[str, None] = {}
    numbers: dict[float, None] = {}

    def collect(value: Any) -> None:
        if isinstance(value, bool) or value is None:
            return
        if isinstance(value, (int, float)):
            numbers[float(value)] = None
        elif isinstance(value, str):
            texts[value.casefold()] = None
        elif isinstance(value, Mapping):
            for name, item in value.items():
                texts[name.casefold()] = None
                collect(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                collect(item)

    for job in jobs:
        texts[job.action_name.casefold()] = None
        collect(job.action_args)
    return texts, numbers


def _covered(mention: str, texts: Iterable[str], numbers: Iterable[float]) -> bool:
    folded = mention.casefold()
    if _NUMBER.fullmatch(mention):
        plain = folded.replace(",", "")
        number = float(plain)
        if any(_is_in_other_unit(number, given) for given in numbers):
            return True
        # Not only as a part of a longer number.
        alone = re.compile(rf"(?<![\d.]){re.escape(plain)}(?!\d)")
        return any(alone.search(text) for text in texts)
    bare = folded.lstrip("#@~")
    # The other way round too: web-01 covers web-01.example.com, but web does not cover web-02.
    return any(bare in text or (text in bare and _is_identifier(text)) for text in texts)


def _is_in_other_unit(number: float, given: float) -> bool:
    return number == given or any(number * factor == given or given * factor == number for factor in _FACTORS)


def _plain(number: float) -> str:
    return str(int(number)) if number.is_integer() else str(number)
