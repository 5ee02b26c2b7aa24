"""What a look-up's outcome says of an action that nobody reported, and how the catalogue names a look-up."""

from __future__ import annotations

from pathlib import Path

import pytest

from plangate_client.executor.catalogue import load_bound_catalogue
from plangate_client.executor.outcome import Outcome
from plangate_client.executor.reconciliation import answer_of
from plangate_core.catalogue.catalogue import CatalogueInvalid
from plangate_core.contract.struct_codec import JsonObject

CATALOGUE = """
version: 1
actions:
  - name: pay
    description: Pays.
    parameters: {properties: {order_id: {type: string}}, required: [order_id]}
    command: {argv: [pay, "{args.order_id}"]}
    reconcile: RECONCILE
"""


@pytest.mark.parametrize(
    ("result", "done"),
    [
        ({"exit_status": 0}, True),
        ({"exit_status": 1}, False),
        ({"exit_status": 2}, None),
        ({"exit_status": -9}, None),
        ({"status": 200}, True),
        ({"status": 204}, True),
        ({"status": 404}, False),
        ({"status": 410}, False),
        ({"status": 401}, None),
        ({"status": 500}, None),
        ({}, None),
    ],
)
def test_only_a_clear_answer_counts(result: JsonObject, done: bool | None) -> None:
    assert answer_of(Outcome(result=result, reason="" if done else "X")).done is done


@pytest.mark.parametrize(
    ("reconcile", "message"),
    [
        ("{}", "takes command or http"),
        ("{command: {argv: [a]}, http: {method: GET, url: 'http://bank/'}}", "takes command or http"),
        ("{command: {argv: ['{args.nothing}']}}", "nothing"),
        ("{shell: x}", "shell"),
    ],
)
def test_a_look_up_that_cannot_be_asked_is_refused(reconcile: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text(CATALOGUE.replace("RECONCILE", reconcile))
    with pytest.raises(CatalogueInvalid, match=message):
        load_bound_catalogue(file)


def test_a_look_up_by_http(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.yaml"
    reconcile = "{http: {method: GET, url: 'http://bank/{args.order_id}', headers: {Authorization: {env: BANK_TOKEN}}}}"
    file.write_text(CATALOGUE.replace("RECONCILE", reconcile))
    bound = load_bound_catalogue(file)
    assert bound.actions["pay"].reconcile is not None
    assert [*bound.missing_environment({})] == [("BANK_TOKEN", "pay")]
