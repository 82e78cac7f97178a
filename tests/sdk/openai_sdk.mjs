// The `openai` package for Node, unmodified, through the relay: node openai_sdk.mjs BASE_URL TOKEN MODEL
//
// The package lies outside of the source tree, where POINTSMAN_TEST_NODE_MODULES says.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.POINTSMAN_TEST_NODE_MODULES}/from-here.js`);
const OpenAI = require("openai");

const [baseUrl, token, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${baseUrl}/v1`, apiKey: token });
const hello = [{ role: "user", content: "hello" }];
const useTool = [{ role: "user", content: "use the tool" }];
const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "The weather of a city",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];
const ok = (what) => console.log("ok", what);

const plain = await client.chat.completions.create({ model, messages: hello });
const text = plain.choices[0].message.content;
assert.ok(text);
assert.equal(plain.choices[0].finish_reason, "stop");
ok("chat, plain");

const pieces = [];
let finish;
for await (const chunk of await client.chat.completions.create({ model, messages: hello, stream: true })) {
  for (const choice of chunk.choices) {
    pieces.push(choice.delta.content ?? "");
    finish = choice.finish_reason ?? finish;
  }
}
assert.equal(pieces.join(""), text);
assert.ok(pieces.length > 1);
assert.equal(finish, "stop");
ok("chat, streamed: the same text");

const called = (await client.chat.completions.create({ model, messages: useTool, tools })).choices[0];
assert.equal(called.finish_reason, "tool_calls");
assert.equal(called.message.tool_calls[0].function.name, "get_weather");
assert.equal(typeof JSON.parse(called.message.tool_calls[0].function.arguments), "object");
ok("chat, tool call");

await assert.rejects(client.chat.completions.create({ model: "no-such-model", messages: hello }), (error) => {
  assert.ok(error instanceof OpenAI.NotFoundError, String(error));
  assert.equal(error.code, "model_not_found");
  return true;
});
ok("an unknown model is a NotFoundError");

const stranger = new OpenAI({ baseURL: `${baseUrl}/v1`, apiKey: "sk-wrong" });
await assert.rejects(stranger.chat.completions.create({ model, messages: hello }), (error) => {
  assert.ok(error instanceof OpenAI.AuthenticationError, String(error));
  assert.equal(error.code, "invalid_token");
  return true;
});
ok("a wrong token is an AuthenticationError");

const models = [];
for await (const listed of client.models.list()) models.push(listed.id);
assert.ok(models.includes(model), String(models));
ok("the model list");

console.log("all well");
