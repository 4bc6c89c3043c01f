// npm's resumable-stream as its README shows it, on Node's own HTTP server.
//
//   node server.mjs PORT REDIS_URL [UPSTREAM]
//
// POST /<n>            begins generation n: asks the upstream, one frame for each token
// POST /<n>?replay=c   begins one that has said c tokens and goes on
// GET  /<n>            follows it: everything said so far, then live
import { createServer } from "node:http";
import { createClient } from "redis";
import { createResumableStreamContext } from "resumable-stream";

const [port, url, upstream] = process.argv.slice(2);
const publisher = createClient({ url });
const subscriber = createClient({ url });
await Promise.all([publisher.connect(), subscriber.connect()]);
const context = createResumableStreamContext({ waitUntil: (work) => work, publisher, subscriber });

const frame = (content, n) => `data: ${JSON.stringify({ type: "token", content })}\nid: 1-${n}\n\n`;

function said(count) {
  return new ReadableStream({
    start(controller) {
      for (let n = 1; n <= count; n++) controller.enqueue(frame(` word${n}`, n));
    },
  });
}

function asked(number) {
  return new ReadableStream({
    async start(controller) {
      const answer = await fetch(`${upstream}/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({
          model: "bench",
          stream: true,
          messages: [{ role: "user", content: `This is answer number ${number}` }],
        }),
      });
      let rest = "";
      let n = 0;
      for await (const text of answer.body.pipeThrough(new TextDecoderStream())) {
        const lines = (rest + text).split("\n");
        rest = lines.pop();
        for (const line of lines) {
          if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
          const content = JSON.parse(line.slice(6)).choices[0]?.delta.content;
          if (content) controller.enqueue(frame(content, ++n));
        }
      }
      controller.close();
    },
  });
}

async function drain(stream) {
  for await (const _ of stream);
}

async function serve(request, response) {
  const address = new URL(request.url, "http://localhost");
  const number = address.pathname.slice(1);
  if (request.method === "POST") {
    const count = address.searchParams.get("replay");
    const make = () => (count ? said(Number(count)) : asked(number));
    drain(await context.createNewResumableStream(number, make)).catch(console.error);
    response.writeHead(202).end();
    return;
  }
  const stream = await context.resumeExistingStream(number);
  if (!stream) {
    response.writeHead(204).end();
    return;
  }
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.flushHeaders();
  request.on("close", () => response.destroy());
  for await (const text of stream) response.write(text);
  response.end();
}

createServer((request, response) => {
  serve(request, response).catch((error) => {
    console.error(error);
    if (response.headersSent) response.destroy();
    else response.writeHead(503).end();
  });
}).listen(Number(port), "127.0.0.1");
