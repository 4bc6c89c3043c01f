// Structured outputs of OpenAI's Node SDK and of the AI SDK, unmodified. `node formats.mjs <scenario>`; each prints what
// it saw as one line of JSON.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, streamObject } from "ai";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const { BASE_URL, API_KEY, MODEL } = process.env;
const client = new OpenAI({ baseURL: BASE_URL, apiKey: API_KEY });
const provider = createOpenAICompatible({
  name: "unbroken",
  baseURL: BASE_URL,
  apiKey: API_KEY,
  supportsStructuredOutputs: true,
});
const Person = z.object({
  name: z.string(),
  age: z.number().int(),
  mail: z.email().nullable(),
  friends: z.array(z.string()),
});
const messages = [{ role: "user", content: "Who is it?" }];

const scenarios = {
  async chat() {
    const completion = await client.chat.completions.parse({
      model: MODEL,
      messages,
      response_format: zodResponseFormat(Person, "person"),
    });
    return completion.choices[0].message.parsed;
  },

  async chatStream() {
    const stream = client.chat.completions.stream({
      model: MODEL,
      messages,
      response_format: zodResponseFormat(Person, "person"),
    });
    return (await stream.finalChatCompletion()).choices[0].message.parsed;
  },

  async responses() {
    const response = await client.responses.parse({
      model: MODEL,
      input: "Who is it?",
      text: { format: zodTextFormat(Person, "person") },
    });
    return response.output_parsed;
  },

  async refusal() {
    const completion = await client.chat.completions.parse({
      model: MODEL,
      messages,
      response_format: zodResponseFormat(Person, "person"),
    });
    const { content, refusal, parsed } = completion.choices[0].message;
    return { content, refusal, parsed };
  },

  async generateObject() {
    return (await generateObject({ model: provider(MODEL), schema: Person, prompt: "Who is it?" })).object;
  },

  async streamObject() {
    const result = streamObject({ model: provider(MODEL), schema: Person, prompt: "Who is it?" });
    let parts = 0;
    for await (const _ of result.partialObjectStream) parts++;
    return { object: await result.object, parts: parts > 1 };
  },
};

console.log(JSON.stringify(await scenarios[process.argv[2]]()));
