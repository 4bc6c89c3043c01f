// The Vercel AI SDK, unmodified: what useChat is made of, without React. `node aisdk.mjs <scenario>`; each prints what
// it saw as one line of JSON, and before that a number whenever a moment has come for the test to do something.
import { AbstractChat, DefaultChatTransport, lastAssistantMessageIsCompleteWithToolCalls } from "ai";

const { URL_, TOKEN, OTHER } = process.env;
const SLOW = "offline";
const QUICK = "offline-fast";

// What a framework brings along: where messages and status are kept. As in @ai-sdk/react, without the hook.
class State {
  constructor(messages = []) {
    this.messages = messages;
    this.status = "ready";
    this.error = undefined;
  }
  pushMessage = (message) => (this.messages = [...this.messages, structuredClone(message)]);
  popMessage = () => (this.messages = this.messages.slice(0, -1));
  replaceMessage = (index, message) => (this.messages = this.messages.with(index, structuredClone(message)));
  snapshot = (value) => structuredClone(value);
}

class Chat extends AbstractChat {
  constructor({ messages, ...init }) {
    super({ ...init, state: new State(messages) });
  }
}

const headers = (token = TOKEN) => ({ Authorization: `Bearer ${token}` });

function open(id, { model = SLOW, token, messages, body = {}, api = `${URL_}/api/chat`, ...more } = {}) {
  const told = { finishes: [], errors: [] };
  const chat = new Chat({
    id,
    messages,
    transport: new DefaultChatTransport({ api, headers: headers(token), body: typeof body === "function" ? body : { model, ...body } }),
    onFinish: ({ isAbort, isDisconnect, isError, finishReason }) =>
      told.finishes.push({ isAbort, isDisconnect, isError, finishReason }),
    onError: (error) => told.errors.push(error.message),
    ...more,
  });
  return Object.assign(chat, { told });
}

const newId = () => crypto.randomUUID();
const ask = (method, path, body) =>
  fetch(`${URL_}${path}`, {
    method,
    headers: { ...headers(), "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
const load = async (id) => (await (await ask("GET", `/api/chat/${id}`)).json()).messages;
const stored = async (chat) => (await ask("GET", `/api/v1/generations/${answer(chat).metadata.generation_id}`)).json();
const textOf = (message) => message.parts.filter((part) => part.type === "text").map((part) => part.text).join("");
const answer = (chat) => chat.messages.findLast((message) => message.role === "assistant");
const shown = (chat) => (answer(chat) ? textOf(answer(chat)) : "");
const roles = (chat) => chat.messages.map((message) => message.role).join(" ");
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function until(condition) {
  for (let n = 0; n < 12_000; n++) {
    if (await condition()) return;
    await sleep(10);
  }
  throw new Error("it did not come true");
}

const scenarios = {
  async send() {
    const chat = open(newId(), { model: QUICK });
    await chat.sendMessage({ text: "Please think about it" });
    const made = await stored(chat);
    return {
      status: chat.status,
      roles: roles(chat),
      parts: answer(chat).parts.map((part) => part.type).join(" "),
      text: shown(chat) === made.content && shown(chat).length > 200,
      id: answer(chat).id === made.message_id,
      usage: answer(chat).metadata.usage.output_tokens > 0,
      told: chat.told,
    };
  },

  async talk() {
    const chat = open(newId(), { model: QUICK });
    await chat.sendMessage({ text: "one" });
    await chat.sendMessage({ text: "two" });
    const texts = chat.messages.map(textOf);
    return { roles: roles(chat), same: JSON.stringify((await load(chat.id)).map(textOf)) === JSON.stringify(texts) };
  },

  async reduced() {
    const transport = new DefaultChatTransport({
      api: `${URL_}/api/chat`,
      headers: headers(),
      prepareSendMessagesRequest: ({ id, messages }) => ({ body: { id, message: messages.at(-1), model: QUICK } }),
    });
    const chat = new Chat({ id: newId(), transport });
    await chat.sendMessage({ text: "one" });
    await chat.sendMessage({ text: "two" });
    return { status: chat.status, roles: (await load(chat.id)).map((message) => message.role).join(" ") };
  },

  async drop() {
    const chat = open(newId());
    const sending = chat.sendMessage({ text: "Cut me" });
    await until(() => shown(chat).length > 100);
    console.log(1);
    await sending;
    const [status, half] = [chat.status, shown(chat)];
    await chat.resumeStream();
    const made = await stored(chat);
    return {
      status: [status, chat.status],
      partial: half.length > 0 && half.length < shown(chat).length && made.content.startsWith(half),
      text: shown(chat) === made.content,
      roles: roles(chat),
    };
  },

  // The end comes while nobody listens: what is on the screen must not stay half.
  async late() {
    const chat = open(newId());
    const sending = chat.sendMessage({ text: "Cut me late" });
    await until(() => shown(chat).length > 100);
    console.log(1);
    await sending;
    await until(async () => (await stored(chat)).status === "completed");
    const half = shown(chat).length;
    await chat.resumeStream();
    return { grew: shown(chat).length > half, text: shown(chat) === (await stored(chat)).content, roles: roles(chat) };
  },

  async reload() {
    const id = newId();
    const first = open(id);
    first.sendMessage({ text: "Reload me" });
    await until(() => shown(first).length > 100);
    await first.stop(); // the tab is closed
    const second = open(id, { messages: await load(id) });
    const began = roles(second);
    await second.resumeStream();
    const third = open(id, { messages: await load(id) });
    await third.resumeStream();
    const made = await stored(second);
    return {
      began,
      roles: [roles(second), roles(third)],
      text: [shown(second) === made.content, shown(third) === made.content],
      id: answer(first).id === answer(second).id && answer(second).id === answer(third).id,
      status: [made.status, second.status, third.status],
    };
  },

  async readers() {
    const id = newId();
    const chats = [open(id), open(id), open(id)];
    const sending = chats[0].sendMessage({ text: "Read me twice" });
    await until(() => shown(chats[0]).length > 50);
    await Promise.all([sending, chats[1].resumeStream(), sleep(500).then(() => chats[2].resumeStream())]);
    const made = await stored(chats[0]);
    return { text: chats.map((chat) => shown(chat) === made.content), status: chats.map((chat) => chat.status) };
  },

  async stop() {
    const chat = open(newId());
    const sending = chat.sendMessage({ text: "Stop me" });
    await until(() => shown(chat).length > 100);
    const answered = await (await ask("POST", `/api/chat/${chat.id}/stop`)).json();
    await sending;
    const status = chat.status;
    const made = await stored(chat);
    const again = await ask("GET", `/api/chat/${chat.id}/stream`);
    await chat.resumeStream();
    await chat.sendMessage({ text: "Go on" }, { body: { model: QUICK } });
    return {
      answered,
      status: [status, chat.status],
      made: made.status,
      again: again.status,
      partial: made.content.length > 0 && textOf(chat.messages[1]) === made.content,
      roles: roles(chat),
    };
  },

  // stop() of the SDK only looks away: the answer goes on, and can be come back to.
  async away() {
    const chat = open(newId());
    chat.sendMessage({ text: "Look away" });
    await until(() => shown(chat).length > 50);
    await chat.stop();
    const running = (await stored(chat)).status;
    await chat.resumeStream();
    return { running, status: chat.status, text: shown(chat) === (await stored(chat)).content, roles: roles(chat) };
  },

  async unknown() {
    const chat = open(newId());
    await chat.resumeStream();
    const mine = open(newId(), { model: QUICK });
    await mine.sendMessage({ text: "Mine" });
    const theirs = open(mine.id, { token: OTHER });
    await theirs.resumeStream();
    return { status: [chat.status, theirs.status], roles: [roles(chat), roles(theirs)], told: chat.told };
  },

  async regenerate() {
    const chat = open(newId(), { model: QUICK });
    await chat.sendMessage({ text: "Again, please" });
    const first = answer(chat);
    await chat.regenerate();
    const second = answer(chat);
    await chat.regenerate({ messageId: second.id });
    const third = answer(chat);
    return {
      different: new Set([first.id, second.id, third.id]).size,
      roles: roles(chat),
      kept: (await load(chat.id)).map((message) => message.id).join() === chat.messages.map((message) => message.id).join(),
    };
  },

  async edit() {
    const chat = open(newId(), { model: QUICK });
    await chat.sendMessage({ text: "one" });
    await chat.sendMessage({ text: "two" });
    await chat.sendMessage({ text: "one, better", messageId: chat.messages[0].id });
    return { roles: roles(chat), stored: (await load(chat.id)).map((message) => [message.role, textOf(message).slice(0, 11)])[0] };
  },

  async retry() {
    const id = newId();
    const message = { id: newId(), role: "user", parts: [{ type: "text", text: "Twice" }] };
    const [one, two] = [open(id, { model: QUICK }), open(id, { model: QUICK })];
    await Promise.all([one.sendMessage(message), two.sendMessage(message)]);
    return { same: answer(one).id === answer(two).id && shown(one) === shown(two), stored: (await load(id)).length };
  },

  async fails() {
    const chat = open(newId(), { model: "fake?tokens=200&rate=200&error_after=10" });
    await chat.sendMessage({ text: "Fail" });
    const again = open(chat.id, { messages: await load(chat.id) });
    await again.resumeStream();
    return { status: [chat.status, again.status], errors: chat.told.errors, same: shown(chat) === shown(again), roles: roles(again) };
  },

  async refused() {
    const problems = [];
    for (const options of [{ token: "nonsense" }, { model: "x".repeat(300) }]) {
      const chat = open(newId(), options);
      await chat.sendMessage({ text: "No" });
      problems.push([chat.status, JSON.parse(chat.error.message).status, Boolean(JSON.parse(chat.error.message).detail)]);
    }
    return problems;
  },

  async restart() {
    const chat = open(newId(), { model: "fake?tokens=60&rate=40&cut_after=20&once=1&continue=restart" });
    await chat.sendMessage({ text: `Restart ${newId()}` });
    const made = await stored(chat);
    return { status: chat.status, text: shown(chat) === made.content, epoch: made.epoch > 1, roles: roles(chat) };
  },

  async tools() {
    const tools = { add: { description: "Adds", parameters: { type: "object", properties: { a: { type: "number" } } } } };
    const call = encodeURIComponent(JSON.stringify({ name: "add", arguments: { a: 1 } }));
    const model = () => (answer(chat) ? "fake?tokens=3&rate=0" : `fake?tokens=3&rate=0&finish=tool_calls&tool_call=${call}`);
    const chat = open(newId(), {
      body: () => ({ model: model(), tools }),
      sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
      onToolCall: ({ toolCall }) => {
        chat.addToolOutput({ tool: toolCall.toolName, toolCallId: toolCall.toolCallId, output: { sum: toolCall.input.a + 1 } });
      },
    });
    await chat.sendMessage({ text: "1 + 1?" });
    await until(() => chat.status === "ready" && answer(chat).parts.at(-1).type === "text");
    const reloaded = open(chat.id, { messages: await load(chat.id) });
    await reloaded.resumeStream();
    const kinds = (one) => answer(one).parts.map((part) => part.type).join(" ");
    return {
      roles: [roles(chat), roles(reloaded)],
      parts: kinds(chat),
      same: [kinds(chat) === kinds(reloaded), answer(chat).id === answer(reloaded).id, shown(chat) === shown(reloaded)],
      output: answer(reloaded).parts.find((part) => part.type === "dynamic-tool").output,
      loaded: (await load(chat.id)).map((message) => message.role).join(" "),
    };
  },

  async killed() {
    const chat = open(newId());
    const sending = chat.sendMessage({ text: `Survive ${newId()}` });
    await until(() => shown(chat).length > 150);
    console.log(1);
    await sending;
    const made = await stored(chat);
    return { status: chat.status, text: shown(chat) === made.content, epoch: made.epoch > 1, roles: roles(chat), told: chat.told };
  },
};

const result = await scenarios[process.argv[2]]();
console.log(JSON.stringify(result));
process.exit(0);
