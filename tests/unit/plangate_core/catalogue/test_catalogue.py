"""The catalogue file: what is taken, what is refused and where, what its digest covers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from plangate_core.catalogue.binding_forms import CommandForm, HttpForm
from plangate_core.catalogue.catalogue import CatalogueInvalid, Risk, load_catalogue, parse_catalogue
from plangate_core.catalogue.document import DocumentInvalid
from plangate_core.catalogue.policy_effect import ApprovalRequirement, Effect
from planner_service.governance.policy_file import parse_policy

GOOD = """
version: 1
actions:
  - name: svc.restart
    description: |
      Restart a service.
    risk: high
    policy: {effect: require_approval, approvals: 2, role: sre, expires_in: 24h, reason: people notice}
    parameters:
      properties: {service: {type: string}}
      required: [service]
    command: {argv: [systemctl, restart, "{args.service}"], timeout_seconds: 30}
  - {name: look, description: Look., policy: allow, http: {method: GET, url: "https://example.com/{args.x}"}}
  - {name: wait, description: Wait.}
"""


def test_everything_of_an_action_is_read() -> None:
    catalogue = parse_catalogue(GOOD)
    restart, look, wait = catalogue.actions
    assert (restart.name, restart.description, restart.risk) == ("svc.restart", "Restart a service.", Risk.HIGH)
    assert restart.policy is not None
    assert restart.policy.effect is Effect.REQUIRE_APPROVAL
    assert restart.policy.requirements == (ApprovalRequirement("sre", 2),)
    assert restart.policy.expires_in == timedelta(days=1)
    assert isinstance(restart.binding, CommandForm)
    assert restart.binding.argv == ["systemctl", "restart", "{args.service}"]
    assert isinstance(look.binding, HttpForm)
    assert wait.binding is None
    assert look.policy is not None
    assert (look.policy.effect, look.policy.requirements) == (Effect.ALLOW, ())
    assert (wait.policy, wait.risk) == (None, Risk.UNSPECIFIED)
    assert wait.parameters == {"type": "object", "additionalProperties": False}
    assert catalogue.find("look") is look
    assert catalogue.find("nothing") is None


def test_the_digest_covers_what_is_said_and_not_how() -> None:
    digest = parse_catalogue(GOOD).digest
    assert len(digest) == 64
    assert parse_catalogue("# a comment\n" + GOOD.replace("24h", '"24h"')).digest == digest
    changed = {
        parse_catalogue(GOOD.replace(old, new)).digest
        for old, new in (
            ("people notice", "people do not"),
            ("systemctl", "service"),
            ("risk: high", "risk: low"),
            ("{service: {type: string}}", "{service: {type: [string]}}"),
            ("approvals: 2", "approvals: 3"),
        )
    }
    assert len(changed) == 5
    assert digest not in changed


ACTION = "version: 1\nactions:\n- {name: a, description: b, %s}\n"
REFUSED = [
    ("", 1, 1, "empty"),
    ("x", 1, 1, "a mapping is expected"),
    ("version: 2\nactions: []", 1, 10, "version"),
    ("version: 1\nactions: []", 2, 10, "at least 1"),
    ("version: 1\nversion: 1", 2, 1, "'version' is given twice"),
    ("version: 1\nactions: [1", 3, 1, "not YAML"),
    ("version: 1\nä: \x1b[2J", 2, 4, "not YAML: control characters are not allowed"),
    ("version: 1\nactoins: []", 2, 10, "actoins: there is no such field"),
    ("version: 1\nactions:\n- {name: a, description: b}\n- {name: a, description: b}", 4, 10, "'a' is given twice"),
    ("version: 1\nactions:\n- {name: 1a, description: b}", 3, 10, "actions.0.name"),
    ("version: 1\nactions:\n- {name: a}", 3, 3, "actions.0.description: Field required"),
    ("version: 1\nactions:\n- {name: a, description: ''}", 3, 26, "actions.0.description"),
    (ACTION % "risk: huge", 3, 35, "'low', 'medium' or 'high'"),
    (ACTION % "policy: alow", 3, 37, "'allow', 'require_approval' or 'deny'"),
    (ACTION % "policy: {effect: allow, role: x}", 3, 59, "only require_approval takes role"),
    (ACTION % "policy: {effect: require_approval, approvals: 0}", 3, 75, "greater than or equal to 1"),
    (ACTION % "policy: {effect: require_approval, expires_in: soon}", 3, 76, "for example 24h"),
    (ACTION % "command: {argv: []}", 3, 45, "at least 1"),
    (ACTION % "command: ls -l", 3, 38, "a mapping is expected"),
    (ACTION % "command: {argv: [ls], shell: true}", 3, 58, "command.shell: there is no such field"),
    (ACTION % "http: {method: GET, url: 'file:///etc/passwd'}", 3, 54, "http.url"),
    (ACTION % "command: {argv: [a]}, http: {method: GET, url: 'http://a'}", 3, 57, "not both"),
    (ACTION % "parameters: {type: array}", 3, 48, "arguments are an object"),
    (ACTION % "parameters: {properties: {on: {enum: [yes, no]}}}", 3, 67, "'yes' would be read as bool"),
    (ACTION % "parameters: {properties: {x: {default: 2020-01-01}}}", 3, 68, "timestamp: put it in quotes"),
    (ACTION % "parameters: {properties: {x: {default: 010}}}", 3, 68, "put it in quotes"),
    (ACTION % "parameters: {properties: {x: {const: 9007199254740992}}}", 3, 66, "2^53 or more"),
    (ACTION % "parameters: {properties: {x: {minimum: 1.0e+18}}}", 3, 68, "2^53 or more"),
    (ACTION % f"parameters: {{properties: {{x: {{multipleOf: {'9' * 5_000}}}}}}}", 3, 71, "2^53 or more"),
    (ACTION % "parameters: {properties: {x: {default: 0o14}}}", 3, 68, "would be read as int: put it in quotes"),
    (ACTION % "parameters: {properties: {x: {default: 1e999}}}", 3, 68, "would be read as float: put it in quotes"),
    (ACTION % "parameters: !!python/object:os.system {}", 3, 41, "tag"),
    ("a: &a {b: 1}\n<<: *a", 2, 1, "merge keys"),
    ("? [a]\n: b", 1, 3, "a key must be text"),
]


@pytest.mark.parametrize(("text", "line", "column", "words"), REFUSED)
def test_faults_are_named_with_their_place(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(CatalogueInvalid) as caught:
        parse_catalogue(text)
    assert (line, column) in [(fault.line, fault.column) for fault in caught.value.faults if words in fault.message]


def test_defaults_that_do_not_fit_are_left_out_with_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text(ACTION % "parameters: {properties: {on: {type: boolean, default: dontcare}, n: {default: 1}}}")
    catalogue = load_catalogue(file)
    assert catalogue.warnings == (
        f"{file}:3:84: actions.0.parameters.properties.on.default: this default is not used: "
        'the default is not of type "boolean"',
    )
    [action] = catalogue.actions
    assert action.parameters["properties"]["on"] == {"type": "boolean"}
    assert catalogue.check_args(action, {}) == ({"n": 1}, [])
    assert parse_catalogue(GOOD).warnings == ()
    assert parse_catalogue(file.read_text()).warnings[0].startswith("line:3:84: ")


def test_bombs_are_refused_quickly() -> None:
    levels = "".join(
        f"{chr(98 + level)}: &{chr(98 + level)} [{','.join(['*' + chr(97 + level)] * 10)}]\n" for level in range(9)
    )
    bombs = [
        f"a: &a [x,x,x,x,x,x,x,x,x,x]\n{levels}",
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 50_000,
        "&a [*a]",
        "x" * (1 << 20) + "x",
    ]
    for bomb in bombs:
        with pytest.raises(CatalogueInvalid):
            parse_catalogue(bomb)


def test_a_long_text_that_is_repeated_counts_as_often_as_it_is() -> None:
    rules = "".join(f"- {{name: r{n}, effect: allow, description: *text}}\n" for n in range(900))
    text = f"version: 1\nrules:\n- {{name: r, effect: deny, description: &text '{'x' * 900_000}'}}\n{rules}"
    with pytest.raises(DocumentInvalid) as caught:
        parse_policy(text)
    assert (caught.value.line, caught.value.message) == (
        3,
        "more than 1048576 characters, counting what aliases repeat",
    )


def test_a_fault_quotes_no_more_than_a_line_holds() -> None:
    with pytest.raises(DocumentInvalid) as caught:
        parse_catalogue(f"version: 1\n? {'k' * 1_000}\n: 1\n? {'k' * 1_000}\n: 2")
    assert caught.value.message.startswith("the key 'kkk")
    assert len(caught.value.message) == 1_000


def test_a_file_is_named_in_its_faults(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text("version: 3\nactions: []")
    with pytest.raises(CatalogueInvalid) as caught:
        load_catalogue(file)
    assert str(caught.value).startswith(f"{file}:1:10: version:")
    file.write_bytes(b"version: 1\nactions: \xff")
    with pytest.raises(CatalogueInvalid, match="not UTF-8"):
        load_catalogue(file)
    with pytest.raises(CatalogueInvalid, match="cannot read the catalogue file: No such file"):
        load_catalogue(tmp_path / "none.yaml")
    file.write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(CatalogueInvalid, match="larger than"):
        load_catalogue(file)
    file.write_text(GOOD)
    assert load_catalogue(file).digest == parse_catalogue(GOOD).digest


def test_the_example_is_good() -> None:
    catalogue = load_catalogue("examples/ops/catalogue.yaml")
    assert len(catalogue.actions) >= 12


SHOWN = """
version: 1
actions:
  - name: get_order
    description: Look up.
    read_only: true
    parameters: {properties: {order_id: {type: string}, full: {type: boolean}}, required: [order_id]}
  - {name: notify, description: Tell., parameters: {properties: {order_id: {type: string}}}}
  - name: refund
    description: Refund.
    parameters: {properties: {order_id: {type: string}, order: {properties: {id: {type: string}}}}}
    review: SHOW
"""


@pytest.mark.parametrize(
    ("review", "args", "timeout_seconds"),
    [
        ("{show: [get_order]}", {"order_id": "a"}, 60),
        ("{show: [{action: get_order, args: {order_id: order.id}}], timeout: 10s}", {"order_id": "b"}, 10),
    ],
)
def test_a_fact_takes_its_arguments_from_those_of_the_reviewed_action(
    review: str, args: dict[str, str], timeout_seconds: int
) -> None:
    catalogue = parse_catalogue(SHOWN.replace("SHOW", review))
    look_up, _, refund = catalogue.actions
    assert (look_up.read_only, look_up.idempotent, refund.read_only) == (True, True, False)
    assert refund.shown_timeout == timedelta(seconds=timeout_seconds)
    [fact] = refund.shown
    assert fact.args_of({"order_id": "a", "order": {"id": "b"}}) == args
    assert fact.args_of({}) == {}


@pytest.mark.parametrize(
    ("review", "message"),
    [
        ("{show: [get_ordre]}", "there is no action 'get_ordre'"),
        ("{show: [notify]}", "notify is not marked read_only: true"),
        ("{show: [{action: get_order, args: {id: order_id}}]}", "get_order has no argument 'id'"),
        ("{show: [{action: get_order, args: {order_id: bill.id}}]}", "the action has no argument 'bill.id'"),
        ("{show: []}", "at least 1 item"),
        ("{show: [get_order], timeout: soon}", "a duration is"),
    ],
)
def test_a_fact_that_cannot_be_looked_up_is_refused(review: str, message: str) -> None:
    with pytest.raises(CatalogueInvalid) as caught:
        parse_catalogue(SHOWN.replace("SHOW", review))
    [line] = caught.value.lines()
    assert "actions.2.review" in line
    assert message in line


def test_a_fact_needs_its_arguments() -> None:
    text = SHOWN.replace("order_id: {type: string}, order: ", "order: ").replace("SHOW", "{show: [get_order]}")
    with pytest.raises(CatalogueInvalid, match="get_order needs 'order_id', which is no argument of the action"):
        parse_catalogue(text)
