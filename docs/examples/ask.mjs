// Asks a question, or continues an answer: `node ask.mjs URL [ANSWER [CURSOR]]`. Needs node 18 or newer, and nothing else.
// Prints the answer to standard output, and how to continue to standard error.

const [url, givenAnswer, givenCursor] = process.argv.slice(2);
const RETRY_MILLISECONDS = 500;
const TEMPORARY = new Set([408, 425, 429]);

// The server will say the same again: another try would not help.
class Refused extends Error {}

async function call(path, body) {
  const response = await fetch(url + path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const result = await response.json();
  if (!response.ok) throw new Error(`${result.title}: ${result.detail}`);
  return result;
}

// Yields the events of one connection. Lines end at \n here: the server sends no other line ends.
async function* connection(answer, cursor) {
  const headers = cursor ? { "last-event-id": cursor } : {};
  const response = await fetch(`${url}/v1/answers/${answer}/stream`, { headers });
  if (response.status === 204) {
    // The cursor is that of the last event: nothing follows it.
    yield { name: "done", data: { status: "ended before" } };
    return;
  }
  if (response.status >= 400 && response.status < 500 && !TEMPORARY.has(response.status)) {
    const problem = await response.json().catch(() => ({}));
    throw new Refused(`${problem.title ?? "status " + response.status}: ${problem.detail ?? ""}`);
  }
  if (!response.ok) throw new Error(`status ${response.status}`);
  let buffer = "";
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    const frames = (buffer + chunk).split("\n\n");
    buffer = frames.pop();
    for (const frame of frames) {
      const fields = Object.fromEntries(frame.split("\n").map((line) => line.split(/: (.*)/s)));
      if (fields.event) yield { name: fields.event, id: fields.id, data: JSON.parse(fields.data) };
    }
  }
}

let answer = givenAnswer;
let cursor = givenCursor;
if (!answer) {
  const chat = await call("/v1/chats", { title: "From an example" });
  answer = (await call(`/v1/chats/${chat.id}/messages`, { content: "What outlives a process?" })).answer;
}
console.error(`answer ${answer}`);

let done = false;
while (!done) {
  try {
    for await (const event of connection(answer, cursor)) {
      if (event.id) cursor = event.id;
      if (event.name === "token") process.stdout.write(event.data.text ?? "");
      if (event.name === "token") console.error(`cursor ${cursor}`);
      if (event.name === "snapshot") process.stdout.write(`\n${event.data.text}`);
      if (event.name === "reset") process.stdout.write("\n--- begun anew ---\n");
      if (event.name === "done") {
        console.log(`\n${event.data.status}`);
        done = true;
      }
    }
  } catch (error) {
    if (error instanceof Refused) {
      console.error(error.message);
      process.exit(1);
    }
    console.error(`interrupted: ${error.message}`);
  }
  // A close without `done` means: connect again, after the last id.
  if (!done) await new Promise((resolve) => setTimeout(resolve, RETRY_MILLISECONDS));
}
