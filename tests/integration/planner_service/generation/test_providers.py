"""Model strings become clients that speak the right protocol with the right parameters; prompts are never templates."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import instructor
import pytest

from planner_service.generation import errors
from planner_service.generation.errors import ProviderNotUsable
from planner_service.generation.instructor_client import InstructorClient
from planner_service.generation.providers.provider_table import KEY_VARIABLES, PROVIDERS
from planner_service.generation.providers.providers import ModelClients
from planner_service.generation.settings import GenerationSettings, ModelEndpoint
from tests.support.generation import PLAN, PROTOCOLS, Bench, Observed
from tests.support.model_server import ModelServer, drops, fails, says

HOSTILE = "{{ secret }} {% if %} {{ ''.__class__ }} {# #} {% for x in y %} <|im_end|> </request>"


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("streamed", [False, True])
async def test_template_syntax_in_a_prompt_stays_text(protocol: str, streamed: bool) -> None:
    async with ModelServer(default=says(PLAN)) as server, Bench(server, protocol) as bench:
        server.script(says({"objective": HOSTILE}))
        request = bench.request(prompt=HOSTILE, context={"note": HOSTILE, "secret": "hunter2"})
        result = await bench.instructor_client.generate_plan(request, Observed() if streamed else None)
    assert len(result.report.attempts) == 2, "nor does a reply that is told again crash a template engine"
    for sent in server.requests:
        text = json.dumps(sent.messages, ensure_ascii=False)
        for words in ("{{ secret }}", "{% if %}", "{{ ''.__class__ }}", "{% for x in y %}"):
            assert words in text or json.dumps(words)[1:-1] in text
        assert text.count("hunter2") == 1, "only where the context was given"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("protocol", "expected", "absent"),
    [
        ("openai-schema", {"temperature": 0, "seed": 7, "max_tokens": 2_048, "model": "test-model"}, ["tools"]),
        ("openai-tools", {"temperature": 0, "seed": 7, "max_tokens": 2_048}, ["response_format", "stream"]),
        ("anthropic", {"max_tokens": 2_048, "model": "test-model"}, ["temperature", "seed"]),
    ],
)
async def test_what_is_sent(protocol: str, expected: dict[str, Any], absent: list[str]) -> None:
    async with ModelServer(default=says(PLAN)) as server, Bench(server, protocol) as bench:
        await bench.instructor_client.generate_plan(bench.request())
    sent = server.requests[0]
    assert {key: sent.body[key] for key in expected} == expected
    assert not set(absent) & sent.body.keys()
    assert "measure_disk_use" in json.dumps(sent.body)
    assert "test-key" in (sent.headers.get("x-api-key", "") + sent.headers.get("authorization", ""))


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["tools", "json_schema", "json", "md_json"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_every_mode_ends_in_the_same_plan(mode: str, streamed: bool) -> None:
    async with ModelServer(default=says(PLAN)) as server, Bench(server, mode=mode) as bench:
        bad_first = says({"objective": "x"})
        server.script(bad_first)
        result = await bench.instructor_client.generate_plan(bench.request(), Observed() if streamed else None)
    assert [job.action_name for job in result.draft.jobs] == ["measure_disk_use", "delete_file"]
    assert [attempt.outcome.value for attempt in result.report.attempts] == ["INVALID_SCHEMA", "VALID"]
    assert not result.report.attempts[1].repaired


@pytest.mark.asyncio
async def test_the_tool_has_one_name_everywhere() -> None:
    async with ModelServer(default=says(PLAN)) as server:
        for protocol in ("openai-tools", "anthropic"):
            async with Bench(server, protocol) as bench:
                await bench.instructor_client.generate_plan(bench.request())
    openai, anthropic = (request.body for request in server.requests)
    assert openai["tools"][0]["function"]["name"] == openai["tool_choice"]["function"]["name"] == "PlanReply"
    assert anthropic["tools"][0]["name"] == anthropic["tool_choice"]["name"] == "PlanReply"
    assert anthropic["tools"][0]["input_schema"]["properties"].keys() == {"jobs"}


@pytest.mark.asyncio
async def test_the_embedded_model_is_an_endpoint_like_any_other() -> None:
    async with ModelServer(default=says(PLAN)) as server, Bench(server) as bench:
        await bench.instructor_client.generate_plan(bench.request(model="embedded"))
    sent = server.requests[0]
    assert sent.body["model"] == "embedded-model"
    assert sent.body["response_format"]["type"] == "json_schema"
    assert sent.headers["authorization"] == "Bearer embedded-key"


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("streamed", [False, True])
async def test_connections_are_used_again(protocol: str, streamed: bool) -> None:
    async with ModelServer(default=says(PLAN)) as server, Bench(server, protocol) as bench:
        for _ in range(5):
            await bench.instructor_client.generate_plan(bench.request(), Observed() if streamed else None)
        client = bench.clients.client(bench.model)
        assert client is bench.clients.client(bench.model)
    assert server.connections == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_connection_that_the_server_closed_meanwhile_costs_no_attempt(protocol: str, streamed: bool) -> None:
    observer = Observed() if streamed else None
    async with ModelServer(default=says(PLAN)) as server, Bench(server, protocol) as bench:
        await bench.instructor_client.generate_plan(bench.request(), observer)
        server.script(drops())
        result = await bench.instructor_client.generate_plan(bench.request(), Observed() if streamed else None)
    assert len(result.report.attempts) == 1
    assert (len(server.requests), server.connections) == (3, 2)


@pytest.mark.asyncio
async def test_a_server_that_hangs_up_on_everybody_is_not_asked_for_ever() -> None:
    async with ModelServer(default=says(PLAN)) as server, Bench(server) as bench:
        await bench.instructor_client.generate_plan(bench.request())
        server.default = drops()
        with pytest.raises(errors.ConnectionLost):
            await bench.instructor_client.generate_plan(bench.request(max_attempts=1))
    assert len(server.requests) == 3


def _clients(model: str, **settings: Any) -> ModelClients:
    return ModelClients(GenerationSettings(model=model, **settings))


@pytest.mark.asyncio
@pytest.mark.parametrize("prefix", [prefix for prefix in PROVIDERS if prefix != "embedded"])
async def test_every_row_of_the_table_makes_a_client(prefix: str) -> None:
    clients = _clients(f"{prefix}/some/model", api_key="k")
    client = clients.client(f"{prefix}/some/model")
    sdk: Any = client.sdk
    assert client.mode is PROVIDERS[prefix].mode
    assert PROVIDERS[prefix].base_url.rstrip("/") in str(sdk.base_url)
    assert callable(client.create)
    await clients.aclose()
    assert sdk.is_closed()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("model", "settings", "said"),
    [
        ("openai/gpt-4o", {"model": "openai/gpt-4o"}, "set OPENAI_API_KEY, PLANGATE_MODEL_API_KEY, or PLANGATE_"),
        ("anthropic/claude", {"model": "openai/gpt-4o"}, "set ANTHROPIC_API_KEY"),
        ("nonsense/x", {"model": "nonsense/x"}, "Unsupported provider: nonsense"),
        ("openai", {"model": "openai"}, "provider/name"),
        ("embedded", {"model": "embedded"}, "plangate model pull"),
        ("cohere/command", {"model": "cohere/command"}, "cohere"),
        ("ollama/x", {"model": "ollama/x", "mode": "telepathy"}, "telepathy"),
    ],
)
async def test_what_cannot_be_used_says_what_mends_it(model: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ProviderNotUsable, match=said):
        ModelClients(GenerationSettings(**settings)).client(model)


@pytest.mark.asyncio
async def test_a_missing_sdk_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anthropic", None)  # as if it were not installed
    with pytest.raises(ProviderNotUsable, match="the extra `anthropic`"):
        _clients("anthropic/claude", api_key="k").client("anthropic/claude")


class _FindsNothing:
    @staticmethod
    def find_spec(*_: object) -> None:
        return None


@pytest.mark.asyncio
async def test_a_key_is_sent_to_its_own_provider_only() -> None:
    settings = GenerationSettings(
        model="openai/gpt-4o",
        base_url="http://10.0.0.1/v1",
        api_key="primary",
        provider_keys={"ANTHROPIC_API_KEY": "other"},
    )
    clients = ModelClients(settings)
    primary: Any = clients.client("openai/gpt-4o").sdk
    other: Any = clients.client("anthropic/claude").sdk
    assert (primary.api_key, str(primary.base_url)) == ("primary", "http://10.0.0.1/v1/")
    assert (other.api_key, str(other.base_url)) == ("other", "https://api.anthropic.com")
    assert "primary" not in repr(settings)
    await clients.aclose()


@pytest.mark.asyncio
async def test_an_unusable_fallback_is_skipped_and_an_unusable_model_is_an_outage() -> None:
    async with ModelServer(default=says(PLAN)) as server, Bench(server) as bench:
        server.script(fails(401))
        result = await bench.instructor_client.generate_plan(
            bench.request(fallback_models=["anthropic/none", "embedded"])
        )
        with pytest.raises(errors.ProviderUnavailable, match="ANTHROPIC_API_KEY"):
            await bench.instructor_client.generate_plan(bench.request(model="anthropic/none"))
    assert [attempt.model for attempt in result.report.attempts] == [bench.model, "embedded"]


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_recorded_run_is_replayed_without_a_model(protocol: str, streamed: bool, tmp_path: Path) -> None:
    recording = tmp_path / "run.jsonl"

    def observer() -> Observed | None:
        return Observed() if streamed else None

    async with ModelServer(default=says(PLAN)) as server, Bench(server, protocol, record_file=recording) as bench:
        server.script(fails(503), says({"objective": "x"}))
        recorded = await bench.instructor_client.generate_plan(bench.request(), observer())
        settings = bench.settings
    text = recording.read_text()
    assert "test-key" not in text
    assert len(text.splitlines()) == 1 + 3

    replay = GenerationSettings(
        model=settings.model, base_url="http://192.0.2.1/v1", mode=settings.mode, replay_file=recording
    )
    if protocol == "anthropic":
        replay = GenerationSettings(
            model=settings.model, base_url="http://192.0.2.1", mode=settings.mode, replay_file=recording
        )
    instructor_client = InstructorClient(ModelClients(replay), replay, sleep=bench._pause, jitter=lambda: 0.0)
    for _ in range(2):
        replayed = await instructor_client.generate_plan(bench.request(), observer())
        assert replayed.draft == recorded.draft
    with pytest.raises(errors.ProviderUnavailable, match="the recording has no reply"):
        await instructor_client.generate_plan(bench.request(prompt="something else", max_attempts=1), observer())
    await instructor_client.aclose()


@pytest.mark.asyncio
@pytest.mark.parametrize("streamed", [False, True])
async def test_schemas_are_not_called_strict(streamed: bool) -> None:
    """OpenAI would refuse them: optional arguments are not required, and lengths are bounded (decision 0034)."""
    for protocol in PROTOCOLS:
        async with ModelServer(default=says(PLAN)) as server, Bench(server, protocol) as bench:
            await bench.instructor_client.generate_plan(bench.request(), Observed() if streamed else None)
        body = server.requests[0].body
        form = body["response_format"]["json_schema"] if "response_format" in body else body["tools"][0]
        assert "strict" not in form.get("function", form)


def test_key_variables_can_be_collected() -> None:
    assert "ANTHROPIC_API_KEY" in KEY_VARIABLES
    assert all(name.endswith("_API_KEY") for name in KEY_VARIABLES)


@pytest.mark.asyncio
async def test_a_provider_left_to_instructor(monkeypatch: pytest.MonkeyPatch) -> None:
    # azure_openai is in Instructor's table, not in ours.
    async with ModelServer(default=says(PLAN)) as server:
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k")
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.openai_url.removesuffix("/v1"))
        async with Bench(server) as bench:
            client = bench.clients.client("azure_openai/gpt")
            sdk: Any = client.sdk
            assert sdk.max_retries == 0
            assert client.mode is instructor.Mode.TOOLS
            observer = Observed()
            result = await bench.instructor_client.generate_plan(bench.request(model="azure_openai/gpt"), observer)
            await sdk.close()
    assert result.report.attempts[0].model == "azure_openai/gpt"
    assert observer.kinds == ["started", "finished", "job", "job"], "not streamed, but told"


def test_endpoints_do_not_show_keys() -> None:
    assert "k3y" not in repr(ModelEndpoint("http://x", "k3y", "m"))


@pytest.mark.asyncio
@pytest.mark.parametrize(("excepted", "through_proxy"), [("", True), ("*.other.test", True), ("provider.test", False)])
async def test_the_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, excepted: str, through_proxy: bool
) -> None:
    async with ModelServer(default=says(PLAN)) as proxy:
        address = proxy.anthropic_url.removeprefix("http://")
        monkeypatch.setenv("http_proxy", f"http://ali%40ce:s3cret@{address}")
        monkeypatch.setenv("no_proxy", excepted)
        async with Bench(proxy, base_url="http://provider.test/v1", connect_timeout_seconds=1.0) as bench:
            if through_proxy:
                await bench.instructor_client.generate_plan(bench.request())
            else:
                with pytest.raises(errors.GenerationFailed):
                    await bench.instructor_client.generate_plan(bench.request(max_attempts=1))
    assert len(proxy.requests) == through_proxy
    for request in proxy.requests:
        assert request.headers["host"] == "provider.test"
        # base64 of ali@ce:s3cret
        assert request.headers["proxy-authorization"] == "Basic YWxpQGNlOnMzY3JldA=="
