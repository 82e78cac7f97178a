"""The `google-genai` package, unmodified, through the relay: python google_sdk.py BASE_URL TOKEN MODEL"""

import json
import sys

from google import genai
from google.genai import errors, types

base_url, token, model = sys.argv[1:4]


def client_with(key, version=None):
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=base_url, api_version=version))


# Speaks `v1` where nothing is said.
client = client_with(token)
TOOL = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="get_weather",
            description="The weather of a city",
            parameters_json_schema={"type": "object", "properties": {"city": {"type": "string"}}},
        )
    ]
)
WITH_TOOL = types.GenerateContentConfig(
    tools=[TOOL], automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
)


def ok(what):
    print("ok", what, flush=True)


plain = client.models.generate_content(model=model, contents="hello")
assert plain.text, plain
assert plain.candidates[0].finish_reason == types.FinishReason.STOP, plain
ok("generateContent, plain")

pieces = [chunk.text or "" for chunk in client.models.generate_content_stream(model=model, contents="hello")]
assert "".join(pieces) == plain.text, (pieces, plain.text)
assert len(pieces) > 1, pieces
ok("generateContent, streamed: the same text")

called = client.models.generate_content(model=model, contents="use the tool", config=WITH_TOOL)
assert called.function_calls and called.function_calls[0].name == "get_weather", called
assert isinstance(called.function_calls[0].args, dict), called
ok("generateContent, tool call")

streamed = []
for chunk in client.models.generate_content_stream(model=model, contents="use the tool", config=WITH_TOOL):
    streamed.extend(chunk.function_calls or [])
assert [call.name for call in streamed] == ["get_weather"], streamed
assert streamed[0].args == called.function_calls[0].args, (streamed, called)
ok("generateContent, tool call streamed: the same arguments")

assert client.models.count_tokens(model=model, contents="hello").total_tokens > 0
ok("counted tokens")

beta = client_with(token, "v1beta")
assert beta.models.generate_content(model=model, contents="hello").text == plain.text
pieces = [chunk.text or "" for chunk in beta.models.generate_content_stream(model=model, contents="hello")]
assert "".join(pieces) == plain.text, (pieces, plain.text)
assert f"models/{model}" in [listed.name for listed in beta.models.list()]
ok("the same under v1beta")

try:
    client.models.generate_content(model="no-such-model", contents="hello")
    raise SystemExit("an unknown model was answered")
except errors.ClientError as error:
    assert error.code == 404, error
    assert error.status == "NOT_FOUND", error
    assert "model_not_found" in json.dumps(error.details), error.details
ok("an unknown model is a ClientError 404")

stranger = client_with("wrong-key")
try:
    stranger.models.generate_content(model=model, contents="hello")
    raise SystemExit("a wrong token was answered")
except errors.ClientError as error:
    assert error.code == 401, error
    assert error.status == "UNAUTHENTICATED", error
    assert "invalid_token" in json.dumps(error.details), error.details
ok("a wrong token is a ClientError 401")

models = [listed.name for listed in client.models.list()]
assert f"models/{model}" in models, models
ok("the model list")

# What follows asks for models that the test has made: one thinks for long, one breaks off, one is late with an error.
pieces = [chunk.text or "" for chunk in client.models.generate_content_stream(model=f"{model}-slow", contents="hello")]
assert "".join(pieces) == "word1 word2 word3", pieces
ok("generateContent, keep-alives read over")

for broken, had in (("broken", "word1 word2 word3"), ("late", "")):
    pieces = []
    try:
        for chunk in client.models.generate_content_stream(model=f"{model}-{broken}", contents="hello"):
            pieces.append(chunk.text or "")
            assert chunk.candidates[0].finish_reason is None, chunk
        raise SystemExit(f"a {broken} stream passed for whole: {pieces}")
    except errors.APIError as error:
        assert error.code >= 500 and error.status, error
    assert "".join(pieces).strip() == had, pieces
ok("broken and late streams are APIErrors")

print("all well")
