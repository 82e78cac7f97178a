"""The `openai` package, unmodified, through the relay: python openai_sdk.py BASE_URL TOKEN MODEL"""

import json
import sys

import openai

base_url, token, model = sys.argv[1:4]
client = openai.OpenAI(base_url=f"{base_url}/v1", api_key=token)
HELLO = [{"role": "user", "content": "hello"}]
USE_TOOL = [{"role": "user", "content": "use the tool"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


def ok(what):
    print("ok", what, flush=True)


plain = client.chat.completions.create(model=model, messages=HELLO)
text = plain.choices[0].message.content
assert text, plain
assert plain.choices[0].finish_reason == "stop", plain
assert plain.usage.total_tokens > 0, plain
ok("chat, plain")

pieces, finish, usage = [], None, None
for chunk in client.chat.completions.create(
    model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
):
    usage = chunk.usage or usage
    for choice in chunk.choices:
        pieces.append(choice.delta.content or "")
        finish = choice.finish_reason or finish
assert "".join(pieces) == text, (pieces, text)
assert len(pieces) > 1, pieces
assert finish == "stop", finish
assert usage is not None and usage.total_tokens > 0, usage
ok("chat, streamed: the same text")

called = client.chat.completions.create(model=model, messages=USE_TOOL, tools=TOOLS).choices[0]
assert called.finish_reason == "tool_calls", called
assert called.message.tool_calls[0].function.name == "get_weather", called
arguments = called.message.tool_calls[0].function.arguments
assert isinstance(json.loads(arguments), dict), called
ok("chat, tool call")

name, pieces = None, []
for chunk in client.chat.completions.create(model=model, messages=USE_TOOL, tools=TOOLS, stream=True):
    for choice in chunk.choices:
        for call in choice.delta.tool_calls or []:
            name = call.function.name or name
            pieces.append(call.function.arguments or "")
assert name == "get_weather", name
assert json.loads("".join(pieces)) == json.loads(arguments), (pieces, arguments)
ok("chat, tool call streamed: the same arguments")

response = client.responses.create(model=model, input="hello")
assert response.output_text, response
assert response.status == "completed", response
ok("responses, plain")

pieces, completed = [], None
for event in client.responses.create(model=model, input="hello", stream=True):
    if event.type == "response.output_text.delta":
        pieces.append(event.delta)
    elif event.type == "response.completed":
        completed = event.response
assert "".join(pieces) == response.output_text, (pieces, response.output_text)
assert completed is not None and completed.output_text == response.output_text, completed
ok("responses, streamed: the same text")

try:
    client.chat.completions.create(model="no-such-model", messages=HELLO)
    raise SystemExit("an unknown model was answered")
except openai.NotFoundError as error:
    assert error.code == "model_not_found", error
ok("an unknown model is a NotFoundError")

try:
    client.with_options(api_key="sk-wrong").chat.completions.create(model=model, messages=HELLO)
    raise SystemExit("a wrong token was answered")
except openai.AuthenticationError as error:
    assert error.code == "invalid_token", error
ok("a wrong token is an AuthenticationError")

models = [listed.id for listed in client.models.list()]
assert model in models, models
assert client.models.retrieve(model).id == model
ok("the model list")

# What follows asks for models that the test has made: one thinks for long, one breaks off, one is late with an error.
pieces = []
for chunk in client.chat.completions.create(model=f"{model}-slow", messages=HELLO, stream=True):
    pieces.extend(choice.delta.content or "" for choice in chunk.choices)
assert "".join(pieces) == "word1 word2 word3", pieces
ok("chat, keep-alives read over")

types = [event.type for event in client.responses.create(model=f"{model}-slow", input="hello", stream=True)]
assert types[0] == "response.created" and types[-1] == "response.completed", types
ok("responses, keep-alives read over")

for broken, had in (("broken", "word1 word2 word3"), ("late", "")):
    pieces = []
    try:
        for chunk in client.chat.completions.create(model=f"{model}-{broken}", messages=HELLO, stream=True):
            pieces.extend(choice.delta.content or "" for choice in chunk.choices)
            assert all(choice.finish_reason is None for choice in chunk.choices), chunk
        raise SystemExit(f"a {broken} stream passed for whole: {pieces}")
    except openai.APIError as error:
        assert error.message and error.body, error
    assert "".join(pieces).strip() == had, pieces
    failed = None
    for event in client.responses.create(model=f"{model}-{broken}", input="hello", stream=True):
        assert event.type != "response.completed", event
        if event.type == "response.failed":
            failed = event.response
            break
    assert failed is not None and failed.status == "failed" and failed.error.message, failed
ok("broken and late streams are APIErrors, broken responses failed ones")

print("all well")
