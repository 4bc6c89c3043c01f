// npm's eventsource, unmodified, as a browser has it: nothing but an address. `node eventsource.mjs <scenario>`; each
// prints what it saw as one line of JSON, and before that a number whenever a moment has come for the test.
import { EventSource } from "eventsource";

const { URL_, TOKEN, DIRECT = URL_ } = process.env;
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function call(method, path, body) {
  const headers = { Authorization: `Bearer ${TOKEN}`, "content-type": "application/json" };
  const answer = await fetch(`${DIRECT}${path}`, { method, headers, body: body && JSON.stringify(body) });
  return answer.json();
}

const start = async (model) => (await call("POST", "/api/v1/generations", { message: "Hello", model })).generation.id;
const ticketFor = async (generation_id) => (await call("POST", "/api/v1/stream-tickets", { generation_id })).ticket;

// An EventSource that writes down what it was sent and how often it asked. It is left alone: whether it ever stops
// asking is the question.
function follow(path, kinds = ["message"], at = {}) {
  const told = { requests: [], statuses: [], ids: [], events: [], ended: 0, retries: 0 };
  const source = new EventSource(`${URL_}${path}`, {
    fetch: async (url, init) => {
      told.requests.push(init.headers["Last-Event-ID"] ?? null);
      const answer = await fetch(url, init);
      told.statuses.push(answer.status);
      return answer;
    },
  });
  for (const kind of kinds) {
    source.addEventListener(kind, (event) => {
      const data = JSON.parse(event.data);
      told.events.push(data);
      // What has no id of its own shows the one before.
      if (!["open", "queued", "title"].includes(data.type)) told.ids.push(event.lastEventId);
      if (told.events.length === at.count) at.then();
    });
  }
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) told.ended += 1;
    else told.retries += 1;
  });
  const closed = async () => {
    for (let n = 0; n < 12_000 && !told.ended; n++) await sleep(10);
    const asked = told.requests.length;
    await sleep(3000); // three times what it would wait before it asks again
    return told.requests.length - asked;
  };
  return { told, closed, source };
}

const tokens = (told) => told.events.filter((event) => event.type === "token").map((event) => event.content).join("");
// What an id says: a number of its revision, each behind the one before.
const gapless = (ids) => ids.every((id, n) => n === 0 || Number(id.split("-")[1]) === Number(ids[n - 1].split("-")[1]) + 1);

const scenarios = {
  async follow() {
    const id = await start("offline-fast");
    const { told, closed } = follow(`/api/v1/generations/${id}/stream?ticket=${await ticketFor(id)}`);
    const more = await closed();
    const made = await call("GET", `/api/v1/generations/${id}`);
    return {
      text: tokens(told) === made.content,
      gapless: gapless(told.ids),
      statuses: told.statuses,
      lastId: told.requests.at(-1) === made.cursor,
      more,
    };
  },

  async drop() {
    const id = await start("offline");
    const at = { count: 30, then: () => console.log(1) };
    const { told, closed } = follow(`/api/v1/generations/${id}/stream?ticket=${await ticketFor(id)}`, undefined, at);
    const more = await closed();
    const made = await call("GET", `/api/v1/generations/${id}`);
    return {
      text: tokens(told) === made.content,
      gapless: gapless(told.ids),
      statuses: told.statuses,
      resumed: told.requests[1] === told.ids[28] || told.ids.includes(told.requests[1]),
      more,
    };
  },

  async response() {
    const id = await start("offline-fast");
    const kinds = ["response.created", "response.output_text.delta", "response.completed"];
    const path = `/v1/responses/resp_${id.replaceAll("-", "")}?stream=true&ticket=${await ticketFor(id)}`;
    const { told, closed } = follow(path, kinds);
    const more = await closed();
    const made = await call("GET", `/api/v1/generations/${id}`);
    const deltas = told.events.filter((event) => event.type === kinds[1]).map((event) => event.delta);
    return { text: deltas.join("") === made.content, statuses: told.statuses, more };
  },

  async refused() {
    const [one, other] = [await start("offline-fast"), await start("offline-fast")];
    const ticket = await ticketFor(one);
    const seen = {};
    for (const [name, path] of Object.entries({
      none: `/api/v1/generations/${one}/stream`,
      other: `/api/v1/generations/${other}/stream?ticket=${ticket}`,
      wrong: `/api/v1/generations/${one}/stream?ticket=${ticket}x`,
    })) {
      const { told, closed } = follow(path);
      seen[name] = [await closed(), told.statuses, told.ended];
    }
    return seen;
  },
};

const result = await scenarios[process.argv[2]]();
console.log(JSON.stringify(result));
process.exit(0);
