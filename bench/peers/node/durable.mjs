// npm's @durable-streams/server as its README shows it, with its streams in memory.
//
//   node durable.mjs PORT
import { DurableStreamTestServer } from "@durable-streams/server";

const [port] = process.argv.slice(2);
await new DurableStreamTestServer({ port: Number(port), host: "127.0.0.1" }).start();
