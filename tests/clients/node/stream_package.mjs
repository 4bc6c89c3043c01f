// The package unbroken-stream as a program has it: installed from its archive, in a folder of its own, where the test
// puts this file. `node stream_package.mjs <scenario>`; each prints its result as one line of JSON, and before that a
// number whenever a moment has come for the test.
import * as stream from 'unbroken-stream';
import * as tabs from 'unbroken-stream/tabs';

const { URL_, TOKEN: token, MODEL: model = 'offline' } = process.env;
const url = `${URL_}/api/v1/generations`;
const LONGEST = 120_000; // milliseconds of a scenario

// The Last-Event-ID of each request for a stream, and the newest event by then.
const requests = [];
let newest = null;
const plainFetch = globalThis.fetch;
globalThis.fetch = (address, init) => {
  if (init?.headers?.Accept === 'text/event-stream') {
    requests.push([init.method ?? 'GET', init.headers['Last-Event-ID'] ?? null, newest]);
  }
  return plainFetch(address, init);
};

// Starts an answer and reads it to its end; at event `at` the test acts.
async function read(body, at) {
  const ids = [];
  const states = [];
  let generation = null;
  const reader = stream.begin({
    url,
    token,
    body,
    times: { maxDelay: 1000 },
    signal: AbortSignal.timeout(LONGEST),
    onState: ({ name }) => states.push(name),
    onEvent: (event) => {
      if (event.type === 'open') generation ??= event.generation_id;
      if (event.id === undefined) return;
      newest = event.id;
      if (ids.push(event.id) === at) console.log(at);
    },
  });
  const { reason, problem, transcript } = await reader.finished;
  return { generation, ids, states, reason, detail: problem?.detail, text: transcript.text, requests };
}

const scenarios = {
  interrupted: () => read({ message: process.env.MESSAGE ?? 'Hello', model }, 20),

  refused: () => read({ message: '', model }),

  // No stream gets through, so the reader polls.
  async polled() {
    const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
    const body = JSON.stringify({ message: 'Hello', model });
    const started = await (await plainFetch(url, { method: 'POST', headers, body })).json();
    const withStreams = globalThis.fetch;
    globalThis.fetch = (address, init) =>
      init.headers.Accept === 'text/event-stream' ? Promise.reject(new TypeError('blocked')) : withStreams(address, init);
    const ids = [];
    const states = [];
    const reader = stream.follow({
      url: `${url}/${started.generation.id}/stream`,
      token,
      times: { minDelay: 10, maxDelay: 100 },
      signal: AbortSignal.timeout(LONGEST),
      onState: ({ name }) => states.push(name),
      onEvent: ({ id }) => id && ids.push(id),
    });
    const { reason, transcript } = await reader.finished;
    return { generation: started.generation.id, ids, states, reason, text: transcript.text };
  },

  async names() {
    return { '.': Object.keys(stream).sort(), './tabs': Object.keys(tabs).sort() };
  },

  // The examples of README.md: the test has put them beside this file.
  async examples() {
    const { ask } = await import('./example0.ts');
    const { resume } = await import('./example1.ts');
    const asked = await ask(URL_, token, 'Hello');
    const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
    const body = JSON.stringify({ message: 'Hello', model });
    const started = await (await plainFetch(url, { method: 'POST', headers, body })).json();
    const { reason, cursor } = await resume(URL_, token, started.generation.id, '0-0');
    const { reason: again } = await resume(URL_, token, started.generation.id, cursor);
    const { connect, send } = await import('./example2.ts');
    const connection = await connect(URL_, () => token, 'alice');
    const sent = await send(connection, 'Hello');
    connection.close();
    return { asked: asked.length > 100, reason, again, sent: sent.length > 100 };
  },
};

console.log(`\n${JSON.stringify(await scenarios[process.argv[2]]())}`);
process.exit(0);
