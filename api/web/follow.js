// Follows an animation until its end: by Server-Sent Events, read with `fetch` because EventSource sends no key; by
// asking again and again where events do not come through.

import { sleep } from "./dom.js";
import { ask, at, read } from "./service.js";

const FINAL = new Set(["succeeded", "failed", "canceled"]);
const POLL_MS = 1500;
const FIRST_EVENT_MS = 6000;
const SILENCE_MS = 40_000; // the service says something every 15 s
const FOR_GOOD = new Set([401, 403, 404, 410]);

export const isFinal = (animation) => FINAL.has(animation.status);

/** Calls `onChange(animation)` for every change, `onLine(false)` while nobody answers. Raises Problem when it is gone. */
export async function follow(id, { onChange, onLine, signal }) {
  const url = at(`animations/${id}`);
  const state = { animation: null, lastId: "", streams: 0, heard: 0 };
  const told = (animation) => {
    onLine(true);
    state.heard += 1;
    state.animation = animation;
    onChange(animation);
  };
  const watchPlace = new AbortController();
  signal.addEventListener("abort", () => watchPlace.abort(), { once: true });
  keepPlace(url, state, told, onLine, watchPlace.signal);
  let waitMs = 1000;
  try {
    while (!signal.aborted) {
      try {
        if (state.streams < 2) await listen(`${url}/events`, state, told, signal);
        if (state.animation && isFinal(state.animation)) return;
        told(await read(url, { signal }));
        if (isFinal(state.animation)) return;
        waitMs = 1000;
        await sleep(POLL_MS, signal);
      } catch (problem) {
        if (signal.aborted) return;
        if (FOR_GOOD.has(problem.status)) throw problem;
        onLine(false);
        await sleep(waitMs, signal);
        waitMs = Math.min(10_000, waitMs * 1.7);
      }
    }
  } finally {
    watchPlace.abort();
  }
}

/** Who waits moves up without any change of its own record, so no event tells of it. */
async function keepPlace(url, state, told, onLine, signal) {
  while (!signal.aborted) {
    await sleep(3000, signal);
    if (signal.aborted || state.animation?.status !== "queued") continue;
    const { heard } = state;
    try {
      const animation = await read(url, { signal });
      if (state.animation.status === "queued") told(animation);
    } catch (problem) {
      // Whatever else it is, the loop beside this one hears of it. Of a connection that has come back meanwhile, a question
      // that was lost before says nothing: nobody would take the banner away again.
      if (problem.isConnection && state.heard === heard) onLine(false);
    }
  }
}

async function listen(url, state, told, signal) {
  const quiet = new AbortController();
  const stop = () => quiet.abort();
  signal.addEventListener("abort", stop, { once: true });
  let timer = setTimeout(stop, FIRST_EVENT_MS);
  let events = 0;
  try {
    const more = { Accept: "text/event-stream", ...(state.lastId && { "Last-Event-ID": state.lastId }) };
    const answer = await ask(url, { signal: quiet.signal, more, cache: "no-store" });
    if (answer.status === 204) return;
    for await (const event of parsed(answer.body)) {
      clearTimeout(timer);
      timer = setTimeout(stop, SILENCE_MS);
      if (!event.data) continue;
      events += 1;
      state.lastId = event.id || state.lastId;
      const data = JSON.parse(event.data);
      if (event.event === "progress") {
        const { eta_s, ...progress } = data;
        told({ ...state.animation, progress, eta_s });
      } else {
        told(data);
      }
      if (event.event === "end") return;
    }
  } catch (problem) {
    if (signal.aborted || FOR_GOOD.has(problem.status)) throw problem;
    // Cut or held back on the way: what follows is asked for.
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
    quiet.abort();
    if (!events) state.streams += 1;
  }
}

/** The events of a stream; comments come as events without data. */
async function* parsed(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value.replaceAll("\r", "");
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const event = {};
      for (const line of text.slice(0, end).split("\n")) {
        const colon = line.indexOf(":");
        if (colon > 0) event[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
      }
      text = text.slice(end + 2);
      yield event;
    }
  }
}
