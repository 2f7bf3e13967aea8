// Asks a question and follows its answer. What it has so far is kept in sessionStorage: after a reload it sends the id of
// its last event, and gets exactly the missing ones.
"use strict";

const json = { "content-type": "application/json" };
const form = document.getElementById("form");
const question = document.getElementById("question");
const state = document.getElementById("state");
const text = document.getElementById("text");
let source = null;

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
  // The browser connects again by itself, and sends the id of the last event.
  source.addEventListener("error", () => { state.textContent = "connection lost: reconnecting"; });
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
