// What a program does with OpenAI's library: `node program.js URL TOKEN` prints what it saw, as JSON.
import OpenAI from "openai";

const [url, token] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: token, maxRetries: 0 });
const seen = {};

const stream = await client.responses.create({ input: "Chai?", stream: true, background: true });
const events = [];
for await (const event of stream) {
  events.push(event);
  if (event.type === "response.output_text.delta") break; // the connection closes
}
const id = events[0].response.id;
const last = events.at(-1).sequence_number;
for await (const event of await client.responses.retrieve(id, { stream: true, starting_after: last })) events.push(event);
seen.numbers = events.map((event) => event.sequence_number);
seen.text = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta).join("");
seen.last = events.at(-1).type;

const tools = [{ type: "function", name: "weather", parameters: { type: "object" }, strict: false }];
const asked = await client.responses.create({ input: "Weather?", tools });
const call = asked.output.find((item) => item.type === "function_call");
const output = { type: "function_call_output", call_id: call.call_id, output: "31 degrees" };
const answer = await client.responses.create({ input: [output], previous_response_id: asked.id, tools });
seen.call = [call.name, call.arguments];
seen.answer = answer.output_text;

const conversation = await client.conversations.create({ metadata: { from: "node" } });
await client.responses.create({ input: "More?", conversation: conversation.id });
seen.items = [];
for await (const item of client.conversations.items.list(conversation.id, { order: "asc", limit: 1 })) seen.items.push(item.role);

seen.errors = [];
for (const failing of [
  () => client.responses.create({ input: "Hi", store: false }),
  () => client.responses.retrieve(`resp_${"a".repeat(64)}`),
  () => new OpenAI({ baseURL: `${url}/v1`, apiKey: "x", maxRetries: 0 }).models.list(),
]) {
  try {
    await failing();
  } catch (error) {
    seen.errors.push([error.constructor.name, error.code, error.param]);
  }
}
process.stdout.write(JSON.stringify(seen));
