// Kept motions (motion templates): the motion of a video, extracted once, that can move any picture in the place of it.

import { makeCard, showCards } from "./cards.js";
import { by, say, sleep } from "./dom.js";
import { isFinal } from "./follow.js";
import { filesOf, forget, keepFiles, list, remember, thumbnail } from "./library.js";
import { ask, at, newKey, Problem, read, send } from "./service.js";
import { ago, count, span, STATUS_NAMES } from "./words.js";

const LOOK_AGAIN_MS = 1500;

/** What is known of a kept motion, in a line. */
export function factsOf({ result }) {
  const parts = ["Kept motion", count(result.frames, "frame"), span(result.duration_s), result.has_audio && "with sound"];
  return parts.filter(Boolean).join(" · ");
}

/**
 * `onUse(motion, title, file)` when one is chosen, with its video as far as this browser has it; `onDelete(id)` when one
 * is to be deleted, `onProblem(problem, more)`.
 */
export function createMotions(root, { onUse, onDelete, onProblem }) {
  const cards = root.querySelector(".cards");
  const keep = by("keep");
  const state = by("kept-state");
  const known = new Map(); // id -> motion, the newest first
  let chosen = "";
  let uploads = 0;
  let kept = ""; // the one whose state is told under the video
  let turn = 0; // counts the videos that were chosen

  const isReady = (motion) => motion.status === "succeeded";
  const titleOf = (id) => list("mot").find((entry) => entry.id === id)?.title || "Motion";

  function card(motion) {
    const { id, status, progress } = motion;
    let line = status === "processing" ? `Reading · ${progress.percent}%` : STATUS_NAMES[status];
    if (isReady(motion)) line = [span(motion.result.duration_s), ago(motion.created_at)].join(" · ");
    const open = { succeeded: () => use(id), failed: () => onProblem(new Problem(motion.error)) }[status];
    return makeCard({
      id,
      status,
      blank: "film",
      thumb: list("mot").find((entry) => entry.id === id)?.thumb,
      title: titleOf(id),
      line,
      isOpen: chosen === id,
      onOpen: open ?? null,
      onDelete: () => onDelete(id),
    });
  }

  function draw() {
    root.hidden = !known.size;
    by("use-kept").hidden = ![...known.values()].some(isReady);
    showCards(cards, [...known.values()].map(card));
  }

  async function use(id) {
    const files = await filesOf(id);
    onUse(known.get(id), titleOf(id), files?.driving ?? null);
  }

  /** Ask the service for all that this caller has. */
  async function load() {
    const found = [];
    try {
      for (let cursor = ""; cursor !== null; ) {
        const page = await read(at(`motions?limit=100${cursor && `&cursor=${encodeURIComponent(cursor)}`}`));
        found.push(...page.data);
        cursor = page.next_cursor;
      }
    } catch (problem) {
      if (problem instanceof Problem) return; // the page works without them, and says of a lost connection elsewhere
      throw problem;
    }
    known.clear();
    for (const motion of found) known.set(motion.id, motion);
    draw();
  }

  /** Extract the motion of the video in `form`. */
  async function start(form, file, title) {
    stateOf("Sending the video", true);
    const mine = turn;
    uploads += 1;
    let motion;
    try {
      motion = await send(at("motions"), form, {
        signal: new AbortController().signal,
        more: { "Idempotency-Key": newKey() },
        onProgress: () => {},
      });
    } catch (problem) {
      if (mine === turn) stateOf("");
      if (!(problem instanceof Problem)) throw problem;
      return onProblem(problem, { retry: () => start(form, file, title) });
    } finally {
      uploads -= 1;
    }
    if (mine === turn) kept = motion.id;
    const entry = { id: motion.id, created: motion.created_at, title, thumb: "" };
    remember(entry);
    const newer = [...known];
    known.clear();
    for (const [id, one] of [[motion.id, motion], ...newer]) known.set(id, one);
    tell(motion);
    remember({ ...entry, thumb: await thumbnail(file) });
    keepFiles(motion.id, null, file);
    draw();
  }

  function stateOf(text, isBusy = false) {
    keep.disabled = isBusy;
    state.textContent = text;
  }

  function tell(motion) {
    known.set(motion.id, motion);
    draw();
    if (motion.id !== kept) return;
    const { status, progress, queue_position: before } = motion;
    if (status === "queued") stateOf(before ? `${before} before it in the queue` : "Next in the queue", true);
    if (status === "processing") stateOf(`Reading the motion · ${progress.percent}%`, true);
    if (!isFinal(motion)) return;
    stateOf(isReady(motion) ? "Kept: it is in the list below." : "");
    if (isReady(motion)) say("The motion is kept.");
    if (status === "failed") onProblem(new Problem(motion.error));
  }

  async function look(id) {
    try {
      tell(await read(at(`motions/${id}`)));
    } catch (problem) {
      if (problem.status === 404 || problem.status === 410) await dropped(id);
      else if (!(problem instanceof Problem)) throw problem;
    }
  }

  async function lookAfter() {
    for (;;) {
      await sleep(LOOK_AGAIN_MS);
      if (document.hidden) continue;
      for (const motion of [...known.values()]) if (!isFinal(motion)) await look(motion.id);
    }
  }
  lookAfter();

  async function dropped(id) {
    known.delete(id);
    await forget(id);
    if (kept === id) stateOf("");
    draw();
  }

  return {
    load,
    start,
    /** Nothing is told of the video that was kept last: another one is chosen. */
    leave() {
      turn += 1;
      kept = "";
      stateOf("");
    },
    mark(id) {
      chosen = id;
      draw();
    },
    async remove(id) {
      try {
        await ask(at(`motions/${id}`), { method: "DELETE" });
      } catch (problem) {
        return onProblem(problem, { retry: () => this.remove(id) });
      }
      await dropped(id);
      by(root.hidden ? "stage-title" : "motions-title").focus();
      say("Deleted.");
    },
    focus() {
      cards.querySelector("[data-status=succeeded] .open").focus({ preventScroll: true });
      root.scrollIntoView({ block: "nearest" });
    },
    get isSending() {
      return uploads > 0;
    },
  };
}
