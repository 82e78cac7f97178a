"""The `anthropic` package, unmodified, through the relay: python anthropic_sdk.py BASE_URL TOKEN MODEL"""

import json
import sys

import anthropic

base_url, token, model = sys.argv[1:4]
client = anthropic.Anthropic(base_url=base_url, api_key=token)
HELLO = [{"role": "user", "content": "hello"}]
USE_TOOL = [{"role": "user", "content": "use the tool"}]
TOOLS = [
    {
        "name": "get_weather",
        "description": "The weather of a city",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]


def ok(what):
    print("ok", what, flush=True)


plain = client.messages.create(model=model, max_tokens=1024, messages=HELLO)
text = "".join(block.text for block in plain.content if block.type == "text")
assert text, plain
assert plain.stop_reason == "end_turn", plain
assert plain.usage.output_tokens > 0, plain
ok("messages, plain")

pieces = []
with client.messages.stream(model=model, max_tokens=1024, messages=HELLO) as stream:
    for piece in stream.text_stream:
        pieces.append(piece)
    final = stream.get_final_message()
assert "".join(pieces) == text, (pieces, text)
assert len(pieces) > 1, pieces
assert final.stop_reason == "end_turn", final
ok("messages, streamed: the same text")

called = client.messages.create(model=model, max_tokens=1024, messages=USE_TOOL, tools=TOOLS)
calls = [block for block in called.content if block.type == "tool_use"]
assert called.stop_reason == "tool_use", called
assert calls[0].name == "get_weather" and isinstance(calls[0].input, dict), called
ok("messages, tool call")

with client.messages.stream(model=model, max_tokens=1024, messages=USE_TOOL, tools=TOOLS) as stream:
    final = stream.get_final_message()
streamed = [block for block in final.content if block.type == "tool_use"]
assert streamed[0].name == "get_weather", final
assert streamed[0].input == calls[0].input, (streamed, calls)
ok("messages, tool call streamed: the same input")

# The other way in which this SDK sends a token.
bearer = anthropic.Anthropic(base_url=base_url, auth_token=token)
assert bearer.messages.create(model=model, max_tokens=1024, messages=HELLO).content
ok("messages, token as bearer")

assert client.messages.count_tokens(model=model, messages=HELLO).input_tokens > 0
ok("counted tokens")

try:
    client.messages.create(model="no-such-model", max_tokens=1024, messages=HELLO)
    raise SystemExit("an unknown model was answered")
except anthropic.NotFoundError as error:
    assert "model_not_found" in json.dumps(error.body), error.body
ok("an unknown model is a NotFoundError")

try:
    anthropic.Anthropic(base_url=base_url, api_key="sk-wrong").messages.create(
        model=model, max_tokens=1024, messages=HELLO
    )
    raise SystemExit("a wrong token was answered")
except anthropic.AuthenticationError as error:
    assert "invalid_token" in json.dumps(error.body), error.body
ok("a wrong token is an AuthenticationError")

models = [listed.id for listed in client.models.list()]
assert model in models, models
ok("the model list")

# What follows asks for models that the test has made: one thinks for long, one breaks off, one is late with an error.
with client.messages.stream(model=f"{model}-slow", max_tokens=1024, messages=HELLO) as stream:
    assert "".join(stream.text_stream) == "word1 word2 word3"
ok("messages, keep-alives read over")

for broken, had in (("broken", "word1 word2 word3"), ("late", "")):
    pieces = []
    try:
        with client.messages.stream(model=f"{model}-{broken}", max_tokens=1024, messages=HELLO) as stream:
            for piece in stream.text_stream:
                pieces.append(piece)
        raise SystemExit(f"a {broken} stream passed for whole: {pieces}")
    except anthropic.APIStatusError as error:
        assert error.body["type"] == "error" and error.body["error"]["message"], error.body
    assert "".join(pieces).strip() == had, pieces
ok("broken and late streams are APIStatusErrors")

print("all well")
