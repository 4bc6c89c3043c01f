// OpenAI's Node SDK, unmodified. `node openai.mjs <scenario>`; each prints what it saw as one line of JSON.
import OpenAI, { toFile } from "openai";

const { BASE_URL, API_KEY, OTHER_KEY } = process.env;
const connect = (options = {}) => new OpenAI({ baseURL: BASE_URL, apiKey: API_KEY, ...options });
const client = connect();
const SLOW = "offline";
const QUICK = "offline-fast";
// One that nobody hears the end of: it is cancelled.
const ENDLESS = "fake?tokens=20000&rate=20";
const TOOL = {
  type: "function",
  name: "add",
  parameters: { type: "object", properties: { a: { type: "number" } }, required: ["a"], additionalProperties: false },
  strict: true,
};

const textOf = (events) =>
  events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta).join("");
const numbers = (events) => events.map((event) => event.sequence_number);
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

async function collect(stream, limit = Infinity) {
  const events = [];
  for await (const event of stream) {
    events.push(event);
    if (events.length >= limit) break;
  }
  return events;
}

// output_text is the SDK's own addition
const plain = ({ output_text, _request_id, ...response }) => response;

async function refused(ask) {
  try {
    await ask();
  } catch (error) {
    return [error.constructor.name, error.status, Boolean(error.message && error.type), Boolean(error.requestID)];
  }
  return ["nothing was thrown"];
}

const scenarios = {
  async upload() {
    const text = "A line of a long text.\n".repeat(10_000);
    const upload = await client.uploads.create({ bytes: text.length, filename: "long.txt", mime_type: "text/plain", purpose: "user_data" });
    const halves = [text.slice(100_000), text.slice(0, 100_000)];
    // Both at once, and the last one first.
    const parts = await Promise.all(halves.map(async (half) => client.uploads.parts.create(upload.id, { data: await toFile(Buffer.from(half), "part") })));
    const ended = await client.uploads.complete(upload.id, { part_ids: parts.reverse().map(({ id }) => id) });
    const content = await (await client.files.content(ended.file.id)).text();
    const other = await client.uploads.create({ bytes: 1, filename: "a.txt", mime_type: "text/plain", purpose: "user_data" });
    const { status } = await client.uploads.cancel(other.id);
    return { status: ended.status, same: content === text, cancelled: status, again: await refused(() => client.uploads.complete(other.id, { part_ids: ["part_x"] })) };
  },

  async create() {
    const response = await client.responses.create({ model: QUICK, input: "Hello", instructions: "Be kind.", metadata: { a: "b" } });
    const again = await client.responses.retrieve(response.id);
    return { status: response.status, long: response.output_text.length > 200, same: same(plain(response), plain(again)) };
  },

  async stream() {
    const events = await collect(await client.responses.create({ model: QUICK, input: "Hello", stream: true }));
    const last = events.at(-1);
    const response = await client.responses.retrieve(last.response.id);
    return {
      type: last.type,
      gapless: same(numbers(events), events.map((_, n) => n)),
      text: textOf(events) === response.output_text,
      same: same(plain(response), plain(last.response)),
    };
  },

  async resume() {
    const seen = await collect(await client.responses.create({ model: SLOW, input: "Tell me", background: true, stream: true }), 20);
    const id = seen[0].response.id;
    const rest = await collect(await client.responses.retrieve(id, { stream: true, starting_after: seen.at(-1).sequence_number }));
    const together = [...seen, ...rest];
    const response = await client.responses.retrieve(id);
    const nothing = await collect(await client.responses.retrieve(id, { stream: true, starting_after: together.at(-1).sequence_number }));
    return {
      gapless: same(numbers(together), together.map((_, n) => n)),
      text: textOf(together) === response.output_text,
      replay: same(together, await collect(await client.responses.retrieve(id, { stream: true }))),
      nothing: nothing.length,
    };
  },

  async poll() {
    let response = await client.responses.create({ model: SLOW, input: "Poll me", background: true });
    const first = response.status;
    while (["queued", "in_progress"].includes(response.status)) {
      await new Promise((done) => setTimeout(done, 200));
      response = await client.responses.retrieve(response.id);
    }
    return { began: ["queued", "in_progress"].includes(first), status: response.status };
  },

  async cancel() {
    const seen = [];
    for await (const event of await client.responses.create({ model: ENDLESS, input: "Cancel me", background: true, stream: true })) {
      seen.push(event);
      if (seen.length === 20) await client.responses.cancel(seen[0].response.id);
    }
    const last = seen.at(-1);
    const again = await client.responses.cancel(last.response.id);
    const kept = again.output[0].content[0].text;
    return { type: last.type, status: last.response.status, text: textOf(seen) === kept, same: same(plain(again), plain(last.response)) };
  },

  async idempotency() {
    const headers = { "Idempotency-Key": crypto.randomUUID() };
    const body = { model: QUICK, input: "Once" };
    const ids = await Promise.all([1, 2, 3].map(async () => (await client.responses.create(body, { headers })).id));
    const streamed = await collect(await client.responses.create({ ...body, stream: true }, { headers }));
    const other = await connect({ apiKey: OTHER_KEY }).responses.create(body, { headers });
    return {
      one: new Set(ids).size,
      streamed: streamed.at(-1).response.id === ids[0] && streamed[0].sequence_number === 0,
      reused: await refused(() => client.responses.create({ ...body, input: "Twice" }, { headers })),
      others: other.id !== ids[0],
    };
  },

  async errors() {
    const mine = await client.responses.create({ model: QUICK, input: "Mine" });
    const bob = connect({ apiKey: OTHER_KEY });
    const conversation = await client.conversations.create();
    const busy = await client.responses.create({ model: ENDLESS, input: "One", conversation: conversation.id, background: true });
    const found = {
      invalid: await refused(() => client.responses.create({ model: QUICK, input: "x", temperature: 9 })),
      unoffered: await refused(() => client.chat.completions.create({ model: QUICK, n: 2, messages: [{ role: "user", content: "x" }] })),
      key: await refused(() => connect({ apiKey: "sk-nothing" }).models.list()),
      missing: await refused(() => client.responses.retrieve("resp_nothing")),
      others: await refused(() => bob.responses.retrieve(mine.id)),
      others_stream: await refused(() => bob.responses.retrieve(mine.id, { stream: true })),
      busy: await refused(() => client.responses.create({ model: QUICK, input: "x", conversation: conversation.id })),
      route: await refused(() => client.get("/nowhere")),
      failed: await refused(() => client.chat.completions.create({ model: "fake?status=401", messages: [{ role: "user", content: "x" }] })),
    };
    await client.responses.cancel(busy.id);
    return found;
  },

  async rate_limit() {
    const impatient = connect({ maxRetries: 0 });
    return refused(async () => {
      // More than twice as many as are allowed: a new minute may begin in between.
      for (let n = 0; n < 12; n += 1) await impatient.models.list();
    });
  },

  async readers() {
    const response = await client.responses.create({ model: SLOW, input: "For two", background: true });
    const read = async () => collect(await client.responses.retrieve(response.id, { stream: true }));
    const [one, other] = await Promise.all([read(), read()]);
    return { same: same(one, other), text: textOf(one) === (await client.responses.retrieve(response.id)).output_text };
  },

  async helper() {
    const stream = client.responses.stream({ model: QUICK, input: "Please think about it", background: true });
    const kinds = new Set();
    for await (const event of stream) kinds.add(event.type);
    const final = await stream.finalResponse();
    const resumed = client.responses.stream({ response_id: final.id, starting_after: 10 });
    const rest = await collect(resumed);
    return {
      thought: kinds.has("response.reasoning_text.delta"),
      items: final.output.map((item) => item.type),
      text: final.output_text === (await client.responses.retrieve(final.id)).output_text,
      first: rest[0].sequence_number,
    };
  },

  async helper_cancelled() {
    const stream = client.responses.stream({ model: ENDLESS, input: "Cancel the helper", background: true });
    const seen = [];
    for await (const event of stream) {
      seen.push(event);
      if (seen.length === 15) await client.responses.cancel(seen[0].response.id);
    }
    return { type: seen.at(-1).type, status: seen.at(-1).response.status };
  },

  async anew() {
    const stream = client.responses.stream({ model: "anew", input: `Begin ${crypto.randomUUID()}`, background: true });
    const seen = await collect(stream);
    const final = await stream.finalResponse();
    return { items: final.output.map((item) => item.status), text: textOf(seen) === final.output_text };
  },

  async tools() {
    const ask = JSON.stringify({ fake: { tokens: 3, rate: 0, finish: "tool_calls", tool_call: { name: "add", arguments: { a: 1 }, id: "call_node" } } });
    const stream = client.responses.stream({ model: "fake", input: ask, tools: [TOOL] });
    for await (const _ of stream);
    const first = await stream.finalResponse();
    const call = first.output.at(-1);
    const second = await client.responses.create({
      model: "fake?tokens=4&rate=0",
      previous_response_id: first.id,
      input: [{ type: "function_call_output", call_id: call.call_id, output: "2" }, { role: "user", content: JSON.stringify({ fake: { tokens: 4, rate: 0 } }) }],
    });
    return { call: [call.type, call.call_id, call.name, call.arguments], status: second.status };
  },

  async conversations() {
    const conversation = await client.conversations.create({ metadata: { topic: "demo" } });
    const items = [1, 2, 3, 4, 5].map((n) => ({ type: "message", role: "user", content: `Number ${n}` }));
    await client.conversations.items.create(conversation.id, { items });
    const response = await client.responses.create({ model: QUICK, input: "And now?", conversation: conversation.id });
    const listed = [];
    for await (const item of client.conversations.items.list(conversation.id, { limit: 2, order: "asc" })) listed.push(item.id);
    const inputs = [];
    for await (const item of client.responses.inputItems.list(response.id, { limit: 1 })) inputs.push(item.id);
    const deleted = await client.conversations.delete(conversation.id);
    return {
      listed: listed.length,
      last: listed.at(-1) === response.output[0].id,
      inputs: inputs.length,
      deleted: deleted.deleted,
      gone: await refused(() => client.conversations.retrieve(conversation.id)),
    };
  },

  async deleted() {
    const response = await client.responses.create({ model: QUICK, input: "Forget me" });
    await client.responses.delete(response.id);
    return refused(() => client.responses.retrieve(response.id));
  },

  async models() {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    return { names, one: (await client.models.retrieve("fake/with-slash")).id };
  },

  async chat() {
    const messages = [{ role: "user", content: "Hello" }];
    const whole = await client.chat.completions.create({ model: QUICK, messages });
    const chunks = await collect(await client.chat.completions.create({ model: QUICK, messages, stream: true, stream_options: { include_usage: true } }));
    const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
    const helped = await client.chat.completions.stream({ model: QUICK, messages }).finalContent();
    return { text: text === whole.choices[0].message.content, helped: helped === text, usage: chunks.at(-1).usage.total_tokens > 0 };
  },

  // The test kills the worker when it reads "30".
  async killed() {
    const seen = [];
    for await (const event of await client.responses.create({ model: SLOW, input: `Survive ${crypto.randomUUID()}`, background: true, stream: true })) {
      seen.push(event);
      if (seen.length === 30) console.log("30");
    }
    const response = await client.responses.retrieve(seen[0].response.id);
    return {
      id: response.id,
      type: seen.at(-1).type,
      gapless: same(numbers(seen), seen.map((_, n) => n)),
      text: textOf(seen) === response.output_text,
      replay: same(seen, await collect(await client.responses.retrieve(response.id, { stream: true }))),
    };
  },

  // The test cuts the connection when it reads "20"; BASE_URL leads through its proxy.
  async cut() {
    const seen = [];
    let error;
    try {
      for await (const event of await client.responses.create({ model: SLOW, input: "Cut me", background: true, stream: true })) {
        seen.push(event);
        if (seen.length === 20) console.log("20");
      }
    } catch (caught) {
      error = caught.constructor.name;
    }
    const id = seen[0].response.id;
    const rest = await collect(await client.responses.retrieve(id, { stream: true, starting_after: seen.at(-1).sequence_number }));
    const together = [...seen, ...rest];
    return {
      error,
      gapless: same(numbers(together), together.map((_, n) => n)),
      text: textOf(together) === (await client.responses.retrieve(id)).output_text,
    };
  },
};

console.log(JSON.stringify(await scenarios[process.argv[2]]()));
