"""Page tokens are of use only with the request that they came from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_service.page_tokens import InvalidPageToken, decode, encode


@given(st.integers(-(2**63), 2**63 - 1), st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40))
def test_round_trip(number: int, text: str) -> None:
    token = encode((number, text), ("ListPlans", "filter"))
    assert decode(token, ("ListPlans", "filter"), (int, str)) == (number, text)


def test_other_requests_tokens_are_refused() -> None:
    token = encode((1, "a"), ("ListPlans", "state = QUEUED"))
    for bound_to, shape in (
        (("ListPlans", ""), (int, str)),
        (("ListProposals", "state = QUEUED"), (int, str)),
        (("ListPlans", "state = QUEUED"), (int,)),
        (("ListPlans", "state = QUEUED"), (str, str)),
    ):
        with pytest.raises(InvalidPageToken):
            decode(token, bound_to, shape)


@given(st.text(max_size=200))
def test_anything_else_is_refused(token: str) -> None:
    with pytest.raises(InvalidPageToken):
        decode(token, ("ListPlans",), (int, str))


def test_a_changed_position_is_refused() -> None:
    token = encode((1, "a"), ("x",))
    changed = token[:-3] + ("A" if token[-3] != "A" else "B") + token[-2:]
    with pytest.raises(InvalidPageToken):
        decode(changed, ("x",), (int, str))


@pytest.mark.parametrize("position", [(2**63, "a"), (-(2**63) - 1, "a"), (1, "a\0"), (1, "\ud800")])
def test_a_token_that_no_database_can_look_for_is_refused(position: tuple[int, str]) -> None:
    with pytest.raises(InvalidPageToken):
        decode(encode(position, ("x",)), ("x",), (int, str))
