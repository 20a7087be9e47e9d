// openai-node: `OPENAI_BASE_URL` and `OPENAI_API_KEY` are all that differs from OpenAI itself.
// Each call prints one line of JSON, as calls.py has it; `node openai_node.mjs [CALL ...]`.

import assert from "node:assert/strict";
import OpenAI from "openai";

const CHAT = "weft-tiny";
const VECTORS = "sdk-vectors";
const ASK = [{ role: "user", content: "What is the capital of France?" }];
const STORY = [{ role: "user", content: "Tell me a story." }];
const WEATHER_ASKED = [{ role: "user", content: "What is the weather in Paris?" }];
const PARAMETERS = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const WEATHER = {
  type: "function",
  function: { name: "get_weather", description: "Tells the weather in a city.", parameters: PARAMETERS },
};
const client = new OpenAI({ maxRetries: 0 });
const calls = [];

function call(name, feature, run) {
  calls.push({ name, feature, run });
}

function ask(fields = {}, options = {}) {
  return client.chat.completions.create({ model: CHAT, messages: ASK, temperature: 0, ...fields }, options);
}

async function texts(stream, count = 1) {
  const told = Array(count).fill("");
  for await (const chunk of stream)
    for (const choice of chunk.choices) told[choice.index] += choice.delta.content ?? "";
  return told;
}

call("chat", "chat: a buffered answer with usage", async () => {
  const answer = await ask();
  assert.match(answer.choices[0].message.content, /Paris/);
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

call("chatStream", "chat: a stream, with its usage at the end", async () => {
  const whole = await ask();
  const chunks = [];
  for await (const chunk of await ask({ stream: true, stream_options: { include_usage: true } })) chunks.push(chunk);
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  assert.equal(text, whole.choices[0].message.content);
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.equal(chunks.at(-1).usage.completion_tokens, whole.usage.completion_tokens);
});

call("chatStreamHelper", "chat: the stream helper and its events", async () => {
  const runner = client.chat.completions.stream({ model: CHAT, messages: ASK, temperature: 0 });
  let text = "";
  runner.on("content", (delta) => (text += delta));
  assert.equal(await runner.finalContent(), text);
  assert.match(text, /Paris/);
});

call("chatReadableStream", "chat: a stream handed on as a web stream", async () => {
  const stream = await ask({ stream: true });
  const again = stream.toReadableStream();
  const told = await new Response(again).text();
  const lines = told.trim().split("\n").map((line) => JSON.parse(line));
  assert.match(lines.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), /Paris/);
});

call("chatN", "chat: n answers, each as with its own seed", async () => {
  const asked = { messages: STORY, temperature: 1.5, max_tokens: 12 };
  const alone = [];
  for (let index = 0; index < 4; index++)
    alone.push((await ask({ ...asked, seed: 7 + index })).choices[0].message.content);
  const together = await ask({ ...asked, seed: 7, n: 4 });
  assert.deepEqual(together.choices.map((choice) => choice.message.content), alone);
  assert.deepEqual(await texts(await ask({ ...asked, seed: 7, n: 4, stream: true }), 4), alone);
});

call("chatStop", "chat: stop, as a string and as a list", async () => {
  const whole = (await ask()).choices[0].message.content;
  for (const stop of ["Paris", ["nowhere", "Paris"]])
    assert.equal((await ask({ stop })).choices[0].message.content, whole.split("Paris")[0]);
});

call("chatTools", "chat: a round trip with a tool, by the tool runner", async () => {
  const asked = [];
  const get_weather = ({ city }) => {
    asked.push(city);
    return "sunny";
  };
  const tool = { ...WEATHER, function: { ...WEATHER.function, function: get_weather, parse: JSON.parse } };
  const runner = client.chat.completions.runTools({ model: CHAT, messages: WEATHER_ASKED, tools: [tool], temperature: 0 });
  assert.match(await runner.finalContent(), /sunny/);
  assert.deepEqual(asked, ["Paris"]);
});

call("chatToolsStream", "chat: a round trip with a tool, by the tool runner, streamed", async () => {
  const tool = { ...WEATHER, function: { ...WEATHER.function, function: () => "sunny", parse: JSON.parse } };
  const runner = client.chat.completions.runTools({
    model: CHAT, messages: WEATHER_ASKED, tools: [tool], temperature: 0, stream: true,
  });
  assert.match(await runner.finalContent(), /sunny/);
});

call("chatToolChoice", "chat: tool_choice none, required and named", async () => {
  const named = { type: "function", function: { name: "get_weather" } };
  const without = await ask({ tools: [WEATHER], tool_choice: "none" });
  assert.match(without.choices[0].message.content, /Paris/);
  for (const tool_choice of ["required", named]) {
    const [only] = (await ask({ tools: [WEATHER], tool_choice })).choices[0].message.tool_calls;
    assert.deepEqual(Object.keys(JSON.parse(only.function.arguments)), ["city"]);
  }
});

call("chatJsonSchema", "chat: response_format json_schema, by parse", async () => {
  const schema = {
    type: "object",
    properties: { size: { enum: ["small", "large"] }, count: { type: "integer", minimum: 0, maximum: 9 } },
    required: ["size", "count"],
    additionalProperties: false,
  };
  const response_format = { type: "json_schema", json_schema: { name: "thing", strict: true, schema } };
  const value = JSON.parse((await ask({ response_format })).choices[0].message.content);
  assert.deepEqual(Object.keys(value), ["size", "count"]);
});

call("chatLogprobs", "chat: logprobs and top_logprobs", async () => {
  const [choice] = (await ask({ logprobs: true, top_logprobs: 2, max_tokens: 4 })).choices;
  assert.equal(choice.logprobs.content.map((token) => token.token).join(""), choice.message.content);
  assert.ok(choice.logprobs.content.every((token) => token.top_logprobs.length === 2));
});

call("completion", "completions: buffered, streamed, echo", async () => {
  const asked = { model: CHAT, prompt: "Once upon a time", temperature: 0, max_tokens: 8 };
  const whole = await client.completions.create(asked);
  let text = "";
  for await (const chunk of await client.completions.create({ ...asked, stream: true })) text += chunk.choices[0]?.text ?? "";
  assert.equal(text, whole.choices[0].text);
  const echoed = await client.completions.create({ ...asked, echo: true });
  assert.equal(echoed.choices[0].text, asked.prompt + text);
});

call("embeddings", "embeddings: base64 (which the library asks for by itself), float, dimensions", async () => {
  const vector = async (fields) =>
    (await client.embeddings.create({ model: VECTORS, input: ["cat", "kitten"], ...fields })).data[0].embedding;
  const [unsaid, floats] = [await vector({}), await vector({ encoding_format: "float" })];
  assert.equal(unsaid.length, 384);
  assert.ok(unsaid.every((value, index) => Math.abs(value - floats[index]) < 1e-5));
  const short = await vector({ dimensions: 64 });
  assert.equal(short.length, 64);
  assert.ok(Math.abs(Math.hypot(...short) - 1) < 1e-4);
});

call("models", "models: list and retrieve", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes(CHAT) && ids.includes(VECTORS));
  assert.equal((await client.models.retrieve(CHAT)).object, "model");
});

call("errors", "errors: wrong key, unknown model, wrong value, each as the library's own class", async () => {
  const stranger = client.withOptions({ apiKey: "sk-wrong" });
  const asked = { model: CHAT, messages: ASK };
  await assert.rejects(stranger.chat.completions.create(asked), OpenAI.AuthenticationError);
  await assert.rejects(ask({ model: "gpt-9" }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    return error.code === "model_not_found";
  });
  await assert.rejects(ask({ temperature: 3 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    return error.param === "temperature";
  });
});

call("requestId", "raw answers: the request's id and headers", async () => {
  const { data, response, request_id } = await ask().withResponse();
  assert.equal(request_id, response.headers.get("x-request-id"));
  assert.equal(data._request_id, request_id);
  assert.ok(Number(response.headers.get("openai-processing-ms")) >= 0);
});

call("abort", "a stream that is aborted half-way", async () => {
  const stream = await ask({ stream: true, messages: STORY, ignore_eos: true, max_tokens: 2000 });
  for await (const _ of stream) {
    stream.controller.abort();
    break;
  }
  assert.equal((await client.models.retrieve(CHAT)).id, CHAT);
});

const wanted = process.argv.slice(2);
for (const each of calls.filter(({ name }) => !wanted.length || wanted.includes(name))) {
  const begun = performance.now();
  let problem = "";
  try {
    await each.run();
  } catch (error) {
    problem = error.stack ?? `${error}`;
  }
  console.log(JSON.stringify({ call: each.name, problem, seconds: (performance.now() - begun) / 1000 }));
}
