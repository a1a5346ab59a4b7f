"""How long a model's context is, how much of a conversation it is sent, and what follows an overflow."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from chat_api import errors
from chat_api.errors import Refusal
from chat_api.inference import Options, Prompt, Turn
from chat_api.inference.openai.contexts import Contexts, length_of
from chat_api.inference.openai.overflow import is_overflow, length_in, shorter
from tests.inference.conftest import Connect
from tests.support.listener import Heard
from tests.support.picky_server import PickyServer

DEFAULT = 2 * 8000 + 8 * 1024  # characters, where nothing tells


@pytest.mark.parametrize(
    ("entry", "length"),
    [
        ({"object": "model", "owned_by": "vllm", "root": "Qwen/Qwen3-8B", "max_model_len": 40960}, 40960),
        ({"owned_by": "llamacpp", "meta": {"vocab_type": 2, "n_ctx_train": 131072, "n_params": 1}}, 131072),
        ({"owned_by": "llamacpp", "meta": {"n_ctx": 4096, "n_ctx_train": 131072}}, 4096),
        ({"context_length": 163840, "top_provider": {"context_length": 8192}}, 163840),
        ({"context_length": None, "top_provider": {"context_length": 8192}}, 8192),
        ({"active": True, "context_window": 131072}, 131072),
        ({"capabilities": {"completion_chat": True}, "max_context_length": 32768}, 32768),
        ({"object": "model", "created": 1, "owned_by": "library"}, None),  # Ollama
        ({"max_model_len": None}, None),
        ({"max_model_len": "4096"}, None),
        ({"max_model_len": 0}, None),
        ({"max_model_len": True}, None),
        ({"max_model_len": 10**12}, None),
        ({"meta": None}, None),
        ({"meta": [1]}, None),
    ],
    ids=str,
)
def test_lists_tell_the_length_of_a_context(entry: dict[str, Any], length: int | None) -> None:
    assert length_of({"id": "m", **entry}) == length


class TestRoom:
    @pytest.mark.parametrize(
        ("settings", "models", "tag", "characters"),
        [
            ({}, [{"id": "m"}], "m", DEFAULT),  # Ollama
            ({}, None, "m", DEFAULT),
            ({}, [{"id": "m", "max_model_len": 8192}], "m", int((8192 - 1024) * 0.9 * 3)),
            ({}, [{"id": "m", "max_model_len": 8192}], "default", int((8192 - 1024) * 0.9 * 3)),
            ({}, [{"id": "m", "max_model_len": 8192}], "unlisted", DEFAULT),
            ({}, [{"id": "m", "max_model_len": 1024}], "m", int(512 * 0.9 * 3)),  # half is kept for history
            ({"inference_context_tokens": 4096}, None, "m", int((4096 - 1024) * 0.9 * 3)),
            ({"inference_context_tokens": 4096}, [{"id": "m", "n_ctx": 8192}], "m", int(3072 * 0.9 * 3)),
            ({"max_token_budget": 6000}, [{"id": "m", "max_model_len": 8192}], "m", 6000),
            ({"max_token_budget": 1_000_000}, [{"id": "m"}], "m", DEFAULT),
            ({}, [{"id": "m", "n_ctx": 8192}, {"id": "n", "n_ctx": 32768}], None, int(31744 * 0.9 * 3)),
            ({}, [{"id": "m", "n_ctx": 2048}], None, DEFAULT),  # of a model that isn't listed
        ],
        ids=str,
    )
    async def test_is_what_the_context_has_beside_the_answer(
        self,
        connect: Connect,
        server: PickyServer,
        settings: dict[str, Any],
        models: list[Any] | None,
        tag: str | None,
        characters: int,
    ) -> None:
        server.models = models
        client = connect(**settings)
        await client.prepare()
        assert client.room(tag, 1024, 0) == (characters, True)

    async def test_instructions_take_their_share(self, connect: Connect, server: PickyServer) -> None:
        server.models = [{"id": "m", "max_model_len": 8192}]
        client = connect()
        await client.prepare()
        assert client.room("m", 1024, 500).characters == int(7168 * 0.9 * 3) - 500
        assert client.room("m", 1024, 500_000).characters == 0

    async def test_the_list_is_asked_for_once_and_not_where_the_settings_tell(
        self, connect: Connect, server: PickyServer
    ) -> None:
        client = connect()
        assert client.is_unprepared
        await client.prepare()
        assert not client.is_unprepared
        assert not connect(inference_context_tokens=4096).is_unprepared
        assert server.lists == 1

    async def test_a_list_that_cant_be_had_changes_nothing(self, connect: Connect) -> None:
        client = connect(inference_service_url="http://127.0.0.1:1/v1")
        await client.prepare()
        assert client.room("m", 1024, 0).characters == DEFAULT

    @pytest.mark.parametrize("protocol", ["nanochat"])
    def test_default_max_tokens_makes_room_for_such_answers(self, connect: Connect, protocol: str) -> None:
        assert connect(default_max_tokens=4096).room("m", 1, 0).characters == 2 * 8000 + 8 * 4096


class TestCharactersAToken:
    def test_are_learnt_from_what_the_server_counts(self) -> None:
        contexts = Contexts(8192, 1)
        for _ in range(40):
            contexts.learn("english", 4500, 1000)
            contexts.learn("hindi", 1000, 1000)
        assert contexts.rate("english") == pytest.approx(4.5, rel=0.02)
        assert contexts.rate("hindi") == pytest.approx(1.0, rel=0.02)
        assert contexts.rate("other") == 3
        assert contexts.room("hindi", 1024, 0) < contexts.room("other", 1024, 0)

    @pytest.mark.parametrize(
        ("characters", "tokens", "least", "most"),
        [(10**6, 256, 3, 8), (256, 10**6, 1, 3), (9, 255, 3, 3), (0, 0, 3, 3), (0, 256, 1, 3)],
    )
    def test_stay_within_reason(self, characters: int, tokens: int, least: float, most: float) -> None:
        contexts = Contexts(None, 1)
        for _ in range(100):
            contexts.learn("m", characters, tokens)
        assert least <= contexts.rate("m") <= most

    def test_of_ever_more_models_take_no_more_memory(self) -> None:
        contexts = Contexts(None, 1)
        for model in range(5000):
            contexts.learn(str(model), 1000, 1000)
            contexts.overflowed(str(model), 1000, 1, 100)
            contexts.overflowed(f"{model}?", 1000, 1, None)
        assert max(len(each) for each in vars(contexts).values() if isinstance(each, dict)) <= 1000


OVERFLOWS = [
    (400, "context_length_exceeded", "Your input exceeds the context window of this model.", None),
    (
        400,
        "context_length_exceeded",
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.",
        8192,
    ),
    (
        400,
        "BadRequestError",
        "You passed 2500 input tokens. However, the model's context length is only 2048 tokens, resulting.",
        2048,
    ),
    (
        400,
        "BadRequestError",
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
        4096,
    ),
    (
        400,
        "exceed_context_size_error",
        "request (5021 tokens) exceeds the available context size (4096 tokens), try increasing it",
        4096,
    ),
    (400, "invalid_request_error", "prompt too long; exceeded max context length by 4 tokens", None),
    (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", 200_000),
    (422, "validation", "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 and 1024", 4096),
    (
        400,
        "3051",
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
        32768,
    ),
    (
        400,
        "INVALID_ARGUMENT",
        "The input token count (1048577) exceeds the maximum number of tokens allowed (1048575).",
        1_048_575,
    ),
    (413, "", "", None),
    # Relatives: of OpenAI, Anthropic, vLLM, SGLang, llama.cpp, Ollama, LM Studio, TGI, Copilot and others.
    (
        400,
        "context_length_exceeded",
        "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens.",
        272_000,
    ),
    (
        400,
        "invalid_request_error",
        "input length and `max_tokens` exceed context limit: 199000 + 8000 > 200000, decrease input length",
        200_000,
    ),
    (400, "BadRequestError", "Input length (5000) exceeds model's maximum context length (4096).", 4096),
    (
        400,
        "BadRequestError",
        "'max_tokens' is too large: 65536. The maximum context length is 40960 tokens (65536 > 40930).",
        40_960,
    ),
    (400, "", "The input (5000 tokens) is longer than the model's context length (4096 tokens).", 4096),
    (400, "", "Input length (5000 tokens) exceeds the maximum allowed length (4090 tokens).", 4090),
    (400, "", "Requested token count exceeds the model's maximum context length of 4096 tokens.", 4096),
    (400, "", "the request exceeds the available context size. try increasing the context size", None),
    (400, "", "Requested tokens (5000) exceed context window of 4096", 4096),
    (500, "server_error", "input is too large to process. increase the physical batch size", None),
    (400, "", "input length exceeds maximum context length", None),
    (
        0,
        "",
        "The model is loaded with context length of only 4096 tokens, which is not enough.",
        4096,
    ),
    (
        422,
        "validation",
        "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000",
        4095,
    ),
    (
        400,
        "model_max_prompt_tokens_exceeded",
        "prompt token count of 70000 exceeds the limit of 64000",
        64_000,
    ),
    (413, "tokens_limit_reached", "Request body too large for gpt-4o model. Max size: 8000 tokens.", 8000),
    (400, "", "The input token count is 33000 but model only supports up to 32767.", 32_767),
    (400, "invalid_parameter_error", "Range of input length should be [1, 30720]", 30_720),
    (400, "", "Invalid request: Your request exceeded model token limit: 8192", 8192),
    (400, "1261", "Prompt exceeds max length", None),
    (
        400,
        "",
        "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
        131_072,
    ),
    (400, "", "The prompt is too long: 9000, model maximum context length: 8191", 8191),
    (400, "", "Prompt length 5000 is greater than max_seq_len 4096", 4096),
    (400, "", "too many tokens: size limit exceeded by 100 tokens. Try using shorter or fewer inputs", None),
    (400, "", "Input is too long for requested model.", None),
    (400, "", "input_tokens + max_tokens must be <= 8192", 8192),
    (
        0,
        "",
        "The number of tokens in the prompt exceeds the model's maximum context length of 32768.",
        32_768,
    ),
]


@pytest.mark.parametrize(("status", "code", "message", "length"), OVERFLOWS, ids=str)
def test_an_overflow_is_known_by_what_it_says(
    status: int, code: str, message: str, length: int | None
) -> None:
    refusal = Refusal(status, code, message)
    assert is_overflow(refusal)
    assert length_in(refusal) == length


@pytest.mark.parametrize(
    "refusal",
    [
        None,
        Refusal(400),
        Refusal(400, "content_policy_violation", "The content was flagged."),
        Refusal(400, "invalid_request_error", "max_tokens is too large: at most 8192", "max_tokens"),
        Refusal(400, "", "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"),
        Refusal(400, "", "This model supports at most 16384 completion tokens, whereas you provided 65536."),
        Refusal(400, "", "max_tokens: 65536 > 8192, which is the maximum allowed number of output tokens"),
        Refusal(503, "", "maximum context length is 8192 tokens"),
        Refusal(404, "model_not_found", "maximum context length is 8192 tokens"),
        Refusal(451, "", "context length"),
    ],
    ids=str,
)
def test_other_refusals_are_no_overflow(refusal: Refusal | None) -> None:
    assert not is_overflow(refusal)


def long_prompt(*sizes: int) -> Prompt:
    roles = ("user", "assistant") * len(sizes)
    turns = [Turn(role, "x" * size) for role, size in zip(roles, sizes, strict=False)]
    return Prompt("", turns, "m", Options(0.8, 1024, None))


def too_long(length: int | None = None) -> tuple[int, Any]:
    named = f"maximum context length is {length} tokens" if length else "too many tokens"
    return 400, {"error": {"message": named, "code": "context_length_exceeded"}}


class TestOverflow:
    @pytest.mark.parametrize(
        ("sizes", "kept"),
        [
            ((10, 10, 10, 10, 10, 10, 10), (10, 10, 10)),
            ((1, 1000, 10, 10, 1), (10, 10, 1)),
            ((1, 1, 1000), (1000,)),
            ((1000, 1, 1), (1,)),
            ((1, 1, 8000, 8000, 1), (1,)),
        ],
    )
    async def test_is_tried_once_with_half_the_history(
        self, connect: Connect, server: PickyServer, sizes: tuple[int, ...], kept: tuple[int, ...]
    ) -> None:
        server.refuse = lambda asked: too_long() if len(asked["messages"]) == len(sizes) else None
        heard = Heard()
        await connect().stream(long_prompt(*sizes), heard)
        assert heard.said == "ok"
        messages = [[len(each["content"]) for each in asked["messages"]] for asked in server.requests]
        assert messages == [list(sizes), list(kept)]
        assert server.requests[1]["messages"][0]["role"] == "user"

    async def test_is_told_as_such_if_half_is_too_much(self, connect: Connect, server: PickyServer) -> None:
        server.refuse = lambda _: too_long()
        with pytest.raises(errors.ConversationTooLong, match="too long for this model") as raised:
            await connect().stream(long_prompt(10, 10, 10), Heard())
        assert len(server.requests) == 2
        assert raised.value.reason is not None

    async def test_another_refusal_of_the_half_is_told_as_what_it_is(
        self, connect: Connect, server: PickyServer
    ) -> None:
        server.refuse = lambda asked: too_long() if len(asked["messages"]) > 1 else (400, {"error": "no"})
        with pytest.raises(errors.InferenceRejected) as raised:
            await connect().stream(long_prompt(10, 10, 10), Heard())
        assert not isinstance(raised.value, errors.ConversationTooLong)

    async def test_of_a_question_alone_is_told_at_once(self, connect: Connect, server: PickyServer) -> None:
        server.refuse = lambda _: too_long(8192)
        with pytest.raises(errors.ConversationTooLong):
            await connect().stream(long_prompt(8000), Heard())
        assert len(server.requests) == 1

    @pytest.mark.parametrize("is_stream", [True, False])
    @pytest.mark.parametrize("code", [400, None])
    async def test_that_comes_within_a_200_is_met_too(
        self, connect: Connect, server: PickyServer, is_stream: bool, code: int | None
    ) -> None:
        """As from gateways that have begun their stream before they ask, and from LM Studio."""
        error = {"error": {"message": "maximum context length is 4096 tokens", "code": code}}
        text = orjson.dumps(error)
        for body in (
            b"data: %b\n\n" % text,
            b"event: error\ndata: %b\n\n" % text,
            b": hi\n\nerror: %b\n" % text,
        ):
            server.requests.clear()
            refusal = 200, (body + b"data: [DONE]\n\n" if is_stream else error)
            server.refuse = lambda asked, refusal=refusal: refusal if len(asked["messages"]) > 3 else None  # type: ignore[misc]
            heard = Heard()
            await connect().stream(long_prompt(10, 10, 10, 10, 10), heard)
            assert heard.said == "ok"
            assert [len(asked["messages"]) for asked in server.requests] == [5, 1]
            server.refuse = lambda _, refusal=refusal: refusal  # type: ignore[misc]
            with pytest.raises(errors.ConversationTooLong):
                await connect().stream(long_prompt(10, 10, 10), Heard())

    async def test_after_the_first_word_is_a_failure(self, connect: Connect, server: PickyServer) -> None:
        said = b'data: {"choices":[{"delta":{"content":"<thi"}}]}\n\n'
        server.refuse = lambda _: (200, said + b'data: {"error":"prompt too long"}\n\n')
        heard = Heard()
        with pytest.raises(errors.InferenceError) as raised:
            await connect().stream(long_prompt(10, 10, 10), heard)
        assert (raised.value.code, heard.said, len(server.requests)) == ("inference_error", "<thi", 1)

    async def test_by_the_answers_length_alone_costs_no_history(
        self, connect: Connect, server: PickyServer
    ) -> None:
        server.refuse = lambda asked: too_long(2048) if asked["max_tokens"] > 1000 else None
        heard = Heard()
        await connect().stream(long_prompt(10, 10, 10), heard)
        assert (len(server.requests[1]["messages"]), server.requests[1]["max_tokens"]) == (3, 512)
        await connect().stream(long_prompt(2000, 10, 10), heard)
        assert (len(server.requests[-1]["messages"]), server.requests[-1]["max_tokens"]) == (1, 512)

    async def test_where_the_answer_takes_half_the_context_it_gets_less(
        self, connect: Connect, server: PickyServer
    ) -> None:
        server.refuse = lambda asked: too_long(2048) if asked["max_tokens"] > 512 else None
        heard = Heard()
        await connect().stream(long_prompt(1250), heard)
        assert (heard.said, server.requests[1]["max_tokens"]) == ("ok", 512)

    @pytest.mark.parametrize("length", [None, 2048])
    async def test_leaves_less_room_for_the_next(
        self, connect: Connect, server: PickyServer, length: int | None
    ) -> None:
        client = connect()
        rooms = [client.room("m", 1024, 0).characters]
        server.refuse = lambda _: too_long(length)
        for _ in range(2):
            with pytest.raises(errors.ConversationTooLong):
                await client.stream(long_prompt(1000, 1000, 1000), Heard())
            rooms.append(client.room("m", 1024, 0).characters)
        assert rooms[0] > rooms[1] >= rooms[2] > 0
        assert client.room("other", 1024, 0).characters == DEFAULT

    async def test_of_a_server_that_names_no_length_is_forgotten_as_long_answers_come(
        self, connect: Connect, server: PickyServer
    ) -> None:
        client = connect()
        server.refuse = lambda asked: too_long() if len(asked["messages"]) > 1 else None
        await client.stream(long_prompt(6000, 10, 6000), Heard())
        small = client.room("m", 1024, 0).characters
        for _ in range(10):
            await client.stream(long_prompt(6000), Heard())
        assert client.room("m", 1024, 0).characters > small

    def test_tool_results_stay_with_their_question(self) -> None:
        turns = [Turn("user", "1"), Turn("assistant", "one"), Turn("user", "2"), Turn("tool", "x" * 9000)]
        less = shorter(Prompt("", turns, "m", Options(0.8, 1024, None)), None)
        assert less is not None
        assert [turn.content[:3] for turn in less.turns] == ["2", "xxx"]
