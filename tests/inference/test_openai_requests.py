"""What is sent in the OpenAI protocol, what is left out after a refusal, and which model is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from chat_api import errors
from chat_api.errors import Refusal
from chat_api.inference import End, OpenAI, Options, Prompt, ToolCall, Turn
from chat_api.inference.base import GO_ON
from chat_api.inference.openai import Profile
from chat_api.inference.openai.request import adapt, payload
from chat_api.inference.openai.server import MAX_TRIES
from chat_api.settings import Settings, SettingsError, load_settings
from tests.inference.conftest import Connect
from tests.support.endpoints import only_endpoint
from tests.support.listener import Heard
from tests.support.picky_server import PickyServer

PROMPT = Prompt("", [Turn("user", "Hi")], "default", Options(0.8, 1024, None))


async def ask(client: OpenAI, tag: str = "default", **options: Any) -> str:
    """The answer's text."""
    heard = Heard()
    given = Options(**{"temperature": 0.8, "max_tokens": 1024, "top_k": None, **options})
    end = await client.stream(Prompt("", PROMPT.turns, tag, given), heard)
    assert end == End()
    return heard.said


def problem(message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """A refusal in OpenAI's form."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def extra(name: str) -> dict[str, Any]:
    """A refusal in FastAPI's form."""
    return {
        "detail": [
            {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
        ]
    }


class TestProfiles:
    def test_without_one_everything_is_sent(self) -> None:
        assert payload("m", PROMPT, Profile()) == {
            "model": "m",
            "messages": [{"role": "user", "content": "Hi"}],
            "temperature": 0.8,
            "max_tokens": 1024,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def test_parameters_are_left_out_renamed_and_added(self) -> None:
        profile = Profile(
            omit=frozenset({"temperature", "stream_options"}),
            max_tokens_field="max_completion_tokens",
            add={"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False}},
        )
        assert payload("m", PROMPT, profile) == {
            "model": "m",
            "messages": [{"role": "user", "content": "Hi"}],
            "max_completion_tokens": 1024,
            "stream": True,
            "reasoning_effort": "low",
            "chat_template_kwargs": {"enable_thinking": False},
        }

    def test_what_is_added_replaces_what_is_sent_otherwise(self) -> None:
        assert payload("m", PROMPT, Profile(add={"temperature": 1}))["temperature"] == 1

    @pytest.mark.parametrize(("mode", "added"), [(True, {"a": 1}), (False, {"a": 2}), (None, {})])
    def test_thinking_is_asked_for_as_the_profile_says(
        self, mode: bool | None, added: dict[str, int]
    ) -> None:
        prompt = Prompt("", PROMPT.turns, "m", PROMPT.options, thinking_mode=mode)
        profile = Profile(with_thinking={"a": 1}, without_thinking={"a": 2})
        assert payload("m", prompt, profile) == {**payload("m", PROMPT, Profile()), **added}

    def test_tools_calls_and_results_go_in_openais_form(self) -> None:
        turns = [
            Turn("user", "Weather?"),
            Turn("assistant", "", (ToolCall("a", "weather", '{"city":"Pune"}'),)),
            Turn("tool", "30 degrees", tool_call_id="a"),
        ]
        tools = '[{"type":"function","function":{"name":"weather"}}]'
        prompt = Prompt("Be kind.", turns, "m", PROMPT.options, tools=tools, tool_choice='"auto"')
        sent = orjson.loads(orjson.dumps(payload("m", prompt, Profile())))
        assert (sent["tools"], sent["tool_choice"]) == (orjson.loads(tools), "auto")
        call = {
            "id": "a",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city":"Pune"}'},
        }
        assert sent["messages"] == [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "30 degrees", "tool_call_id": "a"},
        ]

    async def test_the_settings_make_one(self, connect: Connect, server: PickyServer) -> None:
        client = connect(
            inference_omit="temperature, stream_options",
            inference_max_tokens_field="max_completion_tokens",
            inference_add='{"reasoning_effort":"low"}',
        )
        assert await ask(client) == "ok"
        assert server.requests[0].keys() == {
            "model",
            "messages",
            "max_completion_tokens",
            "stream",
            "reasoning_effort",
        }

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("inference_omit", "messages"),
            ("inference_omit", "a b"),
            ("inference_add", "[]"),
            ("inference_add", "{"),
            ("inference_add", '{"stream":false}'),
            ("inference_max_tokens_field", "tokens"),
        ],
    )
    def test_settings_that_cannot_be_are_refused(self, name: str, value: str) -> None:
        with pytest.raises(SettingsError, match=name.upper()):
            load_settings(_env_file=None, **{name: value})


def hosted(asked: dict[str, Any]) -> tuple[int, Any] | None:
    """Refuse as OpenAI's current models do."""
    if "max_tokens" in asked:
        message = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
        return 400, problem(message, "max_tokens", "unsupported_parameter")
    if asked.get("temperature", 1) != 1:
        message = "Unsupported value: 'temperature' does not support 0.8. Only the default (1) is supported."
        return 400, problem(message, "temperature", "unsupported_value")
    return None


class TestRefusedParameters:
    async def test_what_a_hosted_model_refuses_is_left_out_from_then_on(
        self, connect: Connect, server: PickyServer
    ) -> None:
        server.refuse, client = hosted, connect()
        assert await ask(client) == "ok"
        assert len(server.requests) == 3
        assert server.requests[-1]["max_completion_tokens"] == 1024
        assert "temperature" not in server.requests[-1]
        assert await ask(client) == "ok"
        assert len(server.requests) == 4

    @pytest.mark.parametrize("name", ["stream_options", "top_k", "temperature"])
    async def test_a_422_that_names_it_is_met(self, connect: Connect, server: PickyServer, name: str) -> None:
        server.refuse = lambda asked: (422, extra(name)) if name in asked else None
        client = connect()
        assert await ask(client, top_k=5) == "ok"
        assert await ask(client, top_k=5) == "ok"
        assert [name in asked for asked in server.requests] == [True, False, False]

    async def test_a_limit_that_has_neither_name_is_left_out(
        self, connect: Connect, server: PickyServer
    ) -> None:
        def refuse(asked: dict[str, Any]) -> tuple[int, Any] | None:
            name = next((name for name in asked if name.startswith("max_")), None)
            return None if name is None else (400, problem(f"Unrecognized request argument supplied: {name}"))

        server.refuse = refuse
        assert await ask(connect()) == "ok"
        assert len(server.requests) == 3

    async def test_what_is_added_is_left_out_too(self, connect: Connect, server: PickyServer) -> None:
        server.refuse = lambda asked: (
            (400, problem("no reasoning_effort here")) if "reasoning_effort" in asked else None
        )
        assert await ask(connect(inference_add='{"reasoning_effort":"low"}')) == "ok"
        assert len(server.requests) == 2

    async def test_each_model_is_remembered_for_itself(self, connect: Connect, server: PickyServer) -> None:
        server.refuse, client = hosted, connect()
        await ask(client, "a")
        await ask(client, "b")
        assert [asked["model"] for asked in server.requests] == ["a"] * 3 + ["b"] * 3

    async def test_a_value_out_of_range_is_left_out_once(self, connect: Connect, server: PickyServer) -> None:
        def refuse(asked: dict[str, Any]) -> tuple[int, Any] | None:
            is_large = asked.get("max_tokens", 0) > 8192
            return (400, problem("max_tokens is too large: at most 8192", "max_tokens")) if is_large else None

        server.refuse, client = refuse, connect()
        assert await ask(client, max_tokens=65_536) == "ok"
        assert await ask(client, max_tokens=4096) == "ok"
        assert [asked.get("max_tokens") for asked in server.requests] == [65_536, None, 4096]

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (400, problem("the messages are too many", "messages")),
            (400, problem("no")),
            (400, {}),
            (400, problem("'tools' is not supported", "tools")),
            (400, problem("maximum context length is 4096 tokens; reduce max_tokens", "max_tokens")),
            (400, problem("too long", "max_tokens", "context_length_exceeded")),
            (413, problem("stream_options", "stream_options")),
        ],
        ids=str,
    )
    async def test_other_refusals_are_told_at_once(
        self, connect: Connect, server: PickyServer, status: int, body: Any
    ) -> None:
        server.refuse = lambda _: (status, body)
        with pytest.raises(errors.InferenceRejected) as raised:
            await ask(connect())
        assert len(server.requests) == 1
        assert raised.value.reason is not None

    async def test_a_refusal_that_quotes_the_question_is_not_learnt_from(
        self, connect: Connect, server: PickyServer
    ) -> None:
        server.refuse, client = lambda _: (400, problem("you wrote: what is the temperature?")), connect()
        with pytest.raises(errors.InferenceRejected):
            await ask(client)
        assert len(server.requests) == 2
        server.refuse = lambda _: None
        await ask(client)
        assert server.requests[-1]["temperature"] == 0.8

    async def test_the_tries_have_an_end(self, connect: Connect, server: PickyServer) -> None:
        def refuse(asked: dict[str, Any]) -> tuple[int, Any]:
            return 400, problem("no", next(name for name in asked if name.startswith("x")))

        server.refuse = refuse
        added = orjson.dumps({f"x{n}": n for n in range(20)}).decode()
        with pytest.raises(errors.InferenceRejected):
            await ask(connect(inference_add=added))
        assert len(server.requests) == MAX_TRIES

    def test_a_refusal_names_its_parameter_in_many_ways(self) -> None:
        sent = payload("m", PROMPT, Profile())
        for refusal in (
            Refusal(400, param="stream_options.include_usage"),
            Refusal(422, message="extra field: body.stream_options"),
            Refusal(400, message="Unknown argument `stream_options`"),
            Refusal(400, message="Property 'streamOptions' is unsupported"),
            Refusal(400, message="include_usage: extra fields not permitted"),
            Refusal(400, message="Stream-Options can't be used here"),
        ):
            adapted = adapt(Profile(), sent, refusal)
            assert adapted is not None
            assert (adapted.parameter, adapted.profile.omit) == ("stream_options", {"stream_options"})

    @pytest.mark.parametrize(
        ("message", "parameter", "lasts"),
        [
            ("Temperature may only be set to 1 when thinking is enabled.", "temperature", True),
            ("The value of max_output_tokens must be in the range 1 to 8193", "max_tokens", False),
            ("`maxTokens` must be at most 8192", "max_tokens", False),
            ('Unknown name "topK": Cannot find field.', "top_k", True),
            ("top-k isn't supported", "top_k", True),
        ],
    )
    def test_a_parameter_may_be_spelt_in_another_way(self, message: str, parameter: str, lasts: bool) -> None:
        prompt = Prompt("", PROMPT.turns, "m", Options(0.8, 65_536, 5))
        adapted = adapt(Profile(), payload("m", prompt, Profile()), Refusal(400, message=message))
        assert adapted is not None
        assert (adapted.parameter, adapted.lasts) == (parameter, lasts)

    async def test_a_refusal_within_a_200_is_met_too(self, connect: Connect, server: PickyServer) -> None:
        text = orjson.dumps(problem("top_k is not supported", "top_k", "unsupported") | {"code": 400})
        server.refuse = lambda asked: (200, b"data: %b\n\n" % text) if "top_k" in asked else None
        with pytest.raises(errors.InferenceError) as raised:  # without a status it may be anything
            await ask(connect(), top_k=5)
        assert (raised.value.code, len(server.requests)) == ("inference_error", 1)
        coded = orjson.dumps({"error": {"message": "top_k is not supported", "code": 400}})
        server.refuse = lambda asked: (200, b"data: %b\n\n" % coded) if "top_k" in asked else None
        assert await ask(connect(), top_k=5) == "ok"


def only(*names: str) -> Callable[[dict[str, Any]], tuple[int, Any] | None]:
    """Refuse every model but these."""

    def refuse(asked: dict[str, Any]) -> tuple[int, Any] | None:
        name = asked["model"]
        return None if name in names else (404, problem(f"The model `{name}` does not exist."))

    return refuse


class TestTheDefaultModel:
    async def test_the_first_call_costs_one_list_and_the_next_none(
        self, connect: Connect, server: PickyServer
    ) -> None:
        client = connect()
        await ask(client)
        await ask(client)
        assert (server.lists, len(server.requests)) == (1, 2)
        await ask(connect(inference_model="given"))
        assert server.lists == 1

    @pytest.mark.parametrize(
        "refusal",
        [
            (404, problem("The model `old` does not exist.")),
            (404, problem("no", None, "model_not_found")),
            (400, problem("Model Not Exist")),
            (404, {}),
            (410, {}),
            (400, problem("The model `old` has been decommissioned and is no longer supported.")),
            (404, {"error": {"message": 'model "old" not found, try pulling it first', "type": "api_error"}}),
            (400, {"object": "error", "message": "Invalid model: old", "type": "invalid_model"}),
            (200, {"error": {"message": "model 'old' not found"}}),
        ],
        ids=str,
    )
    async def test_when_it_is_gone_the_list_is_asked_for_again(
        self, connect: Connect, server: PickyServer, refusal: tuple[int, Any]
    ) -> None:
        server.models, client = [{"id": "old"}], connect()
        await ask(client)
        server.models = [{"id": "new"}]
        server.refuse = lambda asked: refusal if asked["model"] == "old" else None
        assert await ask(client) == "ok"
        assert await ask(client) == "ok"
        assert [asked["model"] for asked in server.requests] == ["old", "old", "new", "new"]
        assert server.lists == 2

    async def test_a_list_without_it_is_believed(self, connect: Connect, server: PickyServer) -> None:
        server.models, client = [{"id": "old"}], connect()
        await ask(client)
        server.models = [{"id": "new"}]
        assert orjson.loads(await client.models()) == {"current_model": "new", "models": ["new"]}
        await ask(client)
        assert server.requests[-1]["model"] == "new"

    async def test_the_message_names_a_model_that_is_gone_for_good(
        self, connect: Connect, server: PickyServer
    ) -> None:
        server.models, server.refuse = [{"id": "old"}], only()
        with pytest.raises(errors.InferenceRejected, match='The model "old" isn\'t available'):
            await ask(connect())
        assert len(server.requests) == 1

    async def test_a_model_that_the_conversation_names_is_not_replaced(
        self, connect: Connect, server: PickyServer
    ) -> None:
        server.models, server.refuse = [{"id": "new"}], only("new")
        with pytest.raises(errors.InferenceRejected, match='The model "old" isn\'t available'):
            await ask(connect(), "old")
        with pytest.raises(errors.InferenceRejected, match='The model "mine" isn\'t available'):
            await ask(connect(inference_model="mine"))
        assert len(server.requests) == 2

    async def test_a_404_of_a_model_that_is_listed_means_something_else(
        self, connect: Connect, server: PickyServer
    ) -> None:
        server.refuse = lambda _: (404, {})
        with pytest.raises(errors.InferenceRejected, match="HTTP 404"):
            await ask(connect())

    async def test_a_list_that_fails_hides_no_refusal(self, connect: Connect, server: PickyServer) -> None:
        client = connect()
        await ask(client)
        server.models, server.refuse = None, lambda _: (404, {})
        with pytest.raises(errors.InferenceRejected, match="HTTP 404"):
            await ask(client)

    @pytest.mark.parametrize(
        "other",
        [
            {"id": "nomic-embed-text"},
            {"id": "bge", "task": "feature-extraction"},
            {"id": "bge", "type": "embeddings"},
            {"id": "bge", "capabilities": ["embedding"]},
            {"id": "bge", "type": "rerank"},
            {"id": "jina-reranker-v2"},
            {"id": "whisper", "capabilities": {"audio_transcription": True, "completion_chat": False}},
        ],
        ids=str,
    )
    async def test_models_that_do_not_chat_are_passed_over(
        self, connect: Connect, server: PickyServer, other: Any
    ) -> None:
        server.models = [other, {"id": "chats"}]
        client = connect()
        await ask(client)
        assert server.requests[0]["model"] == "chats"
        listed = orjson.loads(await client.models())
        assert listed == {"current_model": "chats", "models": [other["id"], "chats"]}

    @pytest.mark.parametrize(
        "model",
        [
            {"id": "embedded-llm", "type": "llm"},
            {"id": "x", "capabilities": {"completion_chat": True, "classification": True}},
            {"id": "x-embed"},
        ],
        ids=str,
    )
    async def test_what_the_list_says_counts_more_than_the_name(
        self, connect: Connect, server: PickyServer, model: Any
    ) -> None:
        server.models = [model]
        await ask(connect())
        assert server.requests[0]["model"] == model["id"]

    async def test_a_default_that_turns_out_not_to_chat_is_replaced(
        self, connect: Connect, server: PickyServer
    ) -> None:
        server.models = [{"id": "mystery"}, {"id": "chats"}]
        refusal = 400, problem('"mystery" does not support chat')
        server.refuse = lambda asked: refusal if asked["model"] == "mystery" else None
        assert await ask(connect()) == "ok"


def test_think_tags_can_be_left_in_the_text() -> None:
    assert Profile.of(only_endpoint(Settings()).model).think_tags
    assert not Profile.of(only_endpoint(Settings(inference_think_tags="off")).model).think_tags


class TestGoingOn:
    """An answer that was cut is the prompt's last turn."""

    PROMPT = Prompt("", [*PROMPT.turns, Turn("assistant", "half")], "default", PROMPT.options, goes_on=True)

    async def go_on(self, client: OpenAI) -> None:
        heard = Heard()
        await client.stream(self.PROMPT, heard)
        assert heard.said == "ok"

    @pytest.mark.parametrize(
        ("how", "refusal"),
        [
            ("prefill", (400, problem("Expected last role User or Tool, got assistant"))),
            ("prefill", (422, {"detail": "the last message must be a user's"})),
            ("vllm", (422, extra("continue_final_message"))),
            ("vllm", (400, problem("unknown field", "add_generation_prompt"))),
        ],
    )
    async def test_a_server_that_will_not_is_asked_from_then_on(
        self, connect: Connect, server: PickyServer, how: str, refusal: tuple[int, Any]
    ) -> None:
        server.refuse = lambda asked: refusal if asked["messages"][-1]["role"] == "assistant" else None
        client = connect(inference_continue=how)
        for _ in range(2):
            await self.go_on(client)
        first, *rest = server.requests
        assert len(rest) == 2
        assert ("continue_final_message" in first) == (how == "vllm")
        for asked in rest:
            assert asked["messages"][1:] == [
                {"role": "assistant", "content": "half"},
                {"role": "user", "content": GO_ON},
            ]
            assert "continue_final_message" not in asked

    @pytest.mark.parametrize("how", ["ask", "prefill", "vllm"])
    async def test_what_is_refused_in_words_too_is_refused(
        self, connect: Connect, server: PickyServer, how: str
    ) -> None:
        server.refuse = lambda _: (400, problem("I won't talk about that."))
        with pytest.raises(errors.InferenceRejected):
            await self.go_on(connect(inference_continue=how))
        assert len(server.requests) == (1 if how == "ask" else 2)

    async def test_another_parameter_is_left_out_first(self, connect: Connect, server: PickyServer) -> None:
        server.refuse = hosted
        await self.go_on(connect(inference_continue="prefill"))
        assert all(asked["messages"][-1]["content"] == "half" for asked in server.requests)

    async def test_too_long_a_conversation_keeps_the_question_of_the_answer(
        self, connect: Connect, server: PickyServer
    ) -> None:
        old = [Turn("user", "old" * 500), Turn("assistant", "x" * 1500)]
        server.refuse = lambda asked: (
            (400, problem("prompt is too long")) if len(asked["messages"]) > 3 else None
        )
        prompt = Prompt("", [*old, *self.PROMPT.turns], "m", PROMPT.options, goes_on=True)
        await connect().stream(prompt, Heard())
        assert [turn["content"] for turn in server.requests[1]["messages"]] == ["Hi", "half", GO_ON]

    def test_the_setting_is_one_of_three(self) -> None:
        with pytest.raises(SettingsError, match="INFERENCE_CONTINUE"):
            load_settings(_env_file=None, inference_continue="yes")
