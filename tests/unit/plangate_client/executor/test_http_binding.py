"""A value can never become another path, parameter, header or host."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plangate_client.executor.http_binding import HttpBinding, HttpRequest
from plangate_client.executor.template import ArgumentMissing, ArgumentRefused, TemplateInvalid, Values
from plangate_core.catalogue.argument_schema import ArgumentSchema, closed
from plangate_core.catalogue.binding_forms import HttpForm

SCHEMA: dict[str, Any] = {
    "properties": {"id": {"type": "string"}, "note": {"type": "string"}, "tags": {"type": "array"}},
    "required": ["id"],
}


def compiled(url: str = "https://h.example/items/{args.id}", *, method: str = "POST", **fields: Any) -> HttpBinding:
    return HttpBinding.compile(
        HttpForm.model_validate({"method": method, "url": url, **fields}), ArgumentSchema(closed(SCHEMA))
    )


def rendered(binding: HttpBinding, **args: Any) -> HttpRequest:
    return binding.render(Values(args, {"proposal.id": "0197"}), {"TOKEN": "secret"})


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("7", "/items/7"),
        ("a/b", "/items/a%2Fb"),
        ("../admin", "/items/..%2Fadmin"),
        ("a?x=1#y", "/items/a%3Fx%3D1%23y"),
        ("@evil.example", "/items/%40evil.example"),
        ("a%2fb", "/items/a%252fb"),
        ("ä b", "/items/%C3%A4%20b"),
        ("\r\nHost: x", "/items/%0D%0AHost%3A%20x"),
    ],
)
def test_a_value_is_one_path_segment(value: str, path: str) -> None:
    assert rendered(compiled(), id=value).url == f"https://h.example{path}"


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_refuses_segments_that_are_no_names(value: str) -> None:
    with pytest.raises(ArgumentRefused, match="segment"):
        rendered(compiled(), id=value)


def test_refuses_what_would_make_a_url_that_no_client_sends() -> None:
    assert len(rendered(compiled(), id="x" * 65_000).url) > 65_000
    with pytest.raises(ArgumentRefused, match="characters, more than 65536"):
        rendered(compiled(), id="\u00e4" * 20_000)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_value_comes_back_as_itself(value: str) -> None:
    binding = compiled("https://h.example/a/{args.id}/b?q={args.id}&r=1")
    try:
        url = urlsplit(rendered(binding, id=value).url)
    except ArgumentRefused:
        assert value in (".", "..")
        return
    assert url.netloc == "h.example"
    assert [unquote(segment) for segment in url.path.split("/")] == ["", "a", value, "b"]
    assert parse_qsl(url.query, keep_blank_values=True) == [("q", value), ("r", "1")]


@pytest.mark.parametrize(
    "url",
    [
        "https://{args.id}/x",
        "https://{args.id}.example/x",
        "https://h.example:{args.id}/",
        "https://user:pw@h.example/",
        "https://h.example/#frag",
        "https://h.example/ä",
        "https://h.example:99999/",
        "https://h.example/{args.absent}",
        "https://h.example/{args.note}",
        "https://h.example/{python}",
    ],
)
def test_refuses_urls_at_load(url: str) -> None:
    with pytest.raises(TemplateInvalid):
        compiled(url)


def test_headers_keep_secrets_in_the_environment() -> None:
    headers = {
        "Authorization": {"env": "TOKEN", "prefix": "Bearer "},
        "Idempotency-Key": "{proposal.id}",
        "X-Note": "{args.note}",
    }
    binding = compiled(headers=headers)
    assert binding.referenced_environment == {"TOKEN"}
    assert rendered(binding, id="1", note="n").headers == {
        "Authorization": "Bearer secret",
        "Idempotency-Key": "0197",
        "X-Note": "n",
    }
    assert "X-Note" not in rendered(binding, id="1").headers


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x7f", "ä"])
def test_refuses_header_values(value: str) -> None:
    with pytest.raises(ArgumentRefused, match="X-Note"):
        rendered(compiled(headers={"X-Note": "{args.note}"}), id="1", note=value)


@pytest.mark.parametrize("name", ["Host", "content-length", "X Y", "X:Y", "X\r\n"])
def test_refuses_header_names(name: str) -> None:
    with pytest.raises(TemplateInvalid):
        compiled(headers={name: "x"})


def test_the_body_keeps_types() -> None:
    binding = compiled(
        body={"id": "{args.id}", "text": "id is {args.id}", "tags": "{args.tags}", "n": 1, "note": "{args.note}"}
    )
    request = rendered(binding, id='a"b', tags=["x", {"y": 1}])
    assert request.content is not None
    assert json.loads(request.content) == {"id": 'a"b', "text": 'id is a"b', "tags": ["x", {"y": 1}], "n": 1}
    assert request.headers["Content-Type"] == "application/json"


def test_a_get_has_no_body() -> None:
    with pytest.raises(TemplateInvalid):
        compiled(method="GET", body={})


def test_null_in_the_body_is_sent_and_what_is_missing_is_not() -> None:
    binding = compiled(body={"note": "{args.note}", "text": "note: {args.note}", "tags": ["{args.tags}"]})
    assert rendered(binding, id="1", note=None).content == b'{"note": null, "tags": []}'


def test_a_body_that_is_one_missing_argument_is_left_out() -> None:
    binding = compiled(body="{args.note}")
    assert rendered(binding, id="1").content is None
    assert rendered(binding, id="1", note="n").content == b'"n"'


def test_a_body_that_is_a_text_is_refused_where_an_argument_is_missing() -> None:
    for body in ("noted: {args.note}", "{args.note:json}"):
        with pytest.raises(ArgumentMissing, match="note"):
            rendered(compiled(body=body), id="1")


def test_query_parameters_go_away_repeat_and_are_encoded() -> None:
    binding = compiled(
        "https://h.example/items/{args.id}?v=1",
        query={"note": "n-{args.note}", "tag[]": "{args.tags*}", "filter": "{args.tags:json}", "fixed": "yes"},
    )
    assert rendered(binding, id="7").url == "https://h.example/items/7?v=1&fixed=yes"
    url = rendered(binding, id="7", note="a&b=c #", tags=["x y", 2, True]).url
    assert parse_qsl(urlsplit(url).query) == [
        ("v", "1"),
        ("note", "n-a&b=c #"),
        ("tag[]", "x y"),
        ("tag[]", "2"),
        ("tag[]", "true"),
        ("filter", '["x y",2,true]'),
        ("fixed", "yes"),
    ]
    assert rendered(compiled(query={"tag": "{args.tags*}"}), id="7", tags=[]).url == "https://h.example/items/7"


@pytest.mark.parametrize(
    ("tags", "message"),
    [([None], "holds null"), ([{"a": 1}], "is an object"), (["a\0"], "NUL"), ("a", "is not a list")],
)
def test_refuses_elements_that_are_no_text(tags: Any, message: str) -> None:
    with pytest.raises(ArgumentRefused, match=message):
        rendered(compiled(query={"tag": "{args.tags*}"}), id="7", tags=tags)


@pytest.mark.parametrize("value", ["x-{args.tags*}", "{args.note*}", "{args.tags}", "{args.absent}", "{python}"])
def test_refuses_query_values_at_load(value: str) -> None:
    with pytest.raises(TemplateInvalid):
        compiled(query={"q": value})


def test_a_list_or_null_may_be_repeated() -> None:
    schema = {"properties": {"tags": {"type": ["array", "null"]}}}
    form = HttpForm(method="GET", url="https://h.example/", query={"tag": "{args.tags*}"})
    binding = HttpBinding.compile(form, ArgumentSchema(closed(schema)))
    assert rendered(binding, tags=None).url == "https://h.example/"
    assert rendered(binding, tags=["a", "b"]).url == "https://h.example/?tag=a&tag=b"
    with pytest.raises(TemplateInvalid, match=r"is an array: write \{args.tags\*\}"):
        HttpBinding.compile(form.model_copy(update={"query": {"tag": "{args.tags}"}}), ArgumentSchema(closed(schema)))
