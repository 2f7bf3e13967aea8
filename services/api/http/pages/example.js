// Asks a question and follows its answer. What it has so far is kept in sessionStorage: after a reload it sends the id of
// its last event, and gets exactly the missing ones.
"use strict";

const json = { "content-type": "application/json" };
const form = document.getElementById("form");
const question = document.getElementById("question");
const state = document.getElementById("state");
const text = document.getElementById("text");
let source = null;
let tries = 0;
const LONGEST_WAIT_MILLISECONDS = 10000;

async function call(path, body) {
  const response = await fetch(path, { method: "POST", headers: json, body: JSON.stringify(body) });
  const document_ = await response.json();
  if (!response.ok) throw new Error(document_.detail || document_.title);
  return document_;
}

function keep(answer) {
  sessionStorage.setItem("unspool-example", JSON.stringify(answer));
}

function follow(answer) {
  if (source) source.close();
  text.textContent = answer.text;
  state.textContent = answer.done ? answer.done : "connecting";
  if (answer.done) return;
  // A relative URL: the page also works behind a proxy that adds a prefix.
  const after = answer.cursor ? `?after=${encodeURIComponent(answer.cursor)}` : "";
  source = new EventSource(answer.stream.slice(1) + after);
  const changed = (event) => {
    if (event.lastEventId) answer.cursor = event.lastEventId;
    text.textContent = answer.text;
    keep(answer);
  };
  source.addEventListener("started", () => { state.textContent = "answering"; });
  source.addEventListener("token", (event) => { answer.text += JSON.parse(event.data).text || ""; changed(event); });
  source.addEventListener("reset", (event) => { answer.text = ""; changed(event); });
  source.addEventListener("snapshot", (event) => { answer.text = JSON.parse(event.data).text; changed(event); });
  source.addEventListener("done", (event) => {
    answer.done = JSON.parse(event.data).status;
    state.textContent = answer.done;
    changed(event);
    source.close();
  });
  source.addEventListener("open", () => { tries = 0; });
  source.addEventListener("error", () => {
    state.textContent = "connection lost: reconnecting";
    // The browser connects again by itself, with the id of the last event, unless it got a status other than 200.
    if (source.readyState === EventSource.CLOSED) reconnect(answer);
  });
}

// Connects again after a status that a browser takes for final, such as 503, unless the answer is not there any more.
async function reconnect(answer) {
  const wait = Math.min(LONGEST_WAIT_MILLISECONDS, 500 * 2 ** tries++);
  await new Promise((resolve) => setTimeout(resolve, wait));
  let status = 0;
  try {
    status = (await fetch(answer.stream.slice(1).replace(/\/stream$/, ""))).status;
  } catch {
    // No connection: the next try may have one.
  }
  if (status === 404) {
    sessionStorage.removeItem("unspool-example");
    state.textContent = "this answer does not exist any more";
  } else if (status === 401) {
    state.textContent = "this server wants an API key, which an EventSource cannot send: see docs/http-api.md";
  } else if (isCurrent(answer)) {
    follow(answer);
  }
}

// Another question may have been asked while this answer waited.
function isCurrent(answer) {
  const now = JSON.parse(sessionStorage.getItem("unspool-example") || "{}");
  return now.stream === answer.stream;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const chat = await call("v1/chats", {});
    const asked = await call(`v1/chats/${chat.id}/messages`, { content: question.value });
    const answer = { stream: asked.stream, cursor: "", text: "", done: "" };
    keep(answer);
    follow(answer);
  } catch (error) {
    state.textContent = String(error.message || error);
  }
});

const kept = sessionStorage.getItem("unspool-example");
if (kept) follow(JSON.parse(kept));
