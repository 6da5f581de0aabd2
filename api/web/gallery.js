// Earlier animations of this browser. Those that still run are looked after here, too.

import { makeCard, showCards } from "./cards.js";
import { by, sleep } from "./dom.js";
import { isFinal } from "./follow.js";
import { forget, list } from "./library.js";
import { at, read } from "./service.js";
import { ago, STATUS_NAMES } from "./words.js";

const AT_ONCE = 4;
const LOOK_AGAIN_MS = 4000;

/** `onOpen(id)` and `onDelete(id)` for what people choose. */
export function createGallery(root, { onOpen, onDelete }) {
  const cards = root.querySelector(".cards");
  const known = new Map(); // id -> animation, or null when the service does not know it
  let open = "";

  function card(entry) {
    const animation = known.get(entry.id);
    let status = STATUS_NAMES[animation?.status] ?? "";
    if (animation === null) status = "No longer there";
    if (animation?.status === "processing") status += ` · ${animation.progress.percent}%`;
    const age = animation && !isFinal(animation) ? "" : ago(entry.created);
    return makeCard({
      id: entry.id,
      status: animation?.status ?? "",
      thumb: entry.thumb,
      title: entry.title || "Animation",
      line: [status, age].filter(Boolean).join(" · "),
      isOpen: open === entry.id,
      onOpen: animation === null ? null : () => onOpen(entry.id),
      onDelete: () => onDelete(entry.id),
    });
  }

  function draw() {
    const entries = list();
    root.hidden = !entries.length;
    showCards(cards, entries.map(card));
  }

  async function look(id) {
    try {
      known.set(id, await read(at(`animations/${id}`)));
    } catch (problem) {
      // Another key may know what this one does not: only what the service says is over is forgotten.
      if (problem.status === 410) await forget(id);
      if (problem.status === 404) known.set(id, null);
    }
  }

  /** Ask the service for all of them; the newest that still runs, if any. */
  async function load() {
    draw();
    const ids = list().map((entry) => entry.id);
    const takeSome = async () => {
      for (let id = ids.shift(); id; id = ids.shift()) await look(id);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, takeSome));
    draw();
    return list().find((entry) => known.get(entry.id) && !isFinal(known.get(entry.id)))?.id;
  }

  async function lookAfter() {
    for (;;) {
      await sleep(LOOK_AGAIN_MS);
      if (document.hidden) continue;
      for (const [id, animation] of known) {
        if (id === open || !animation || isFinal(animation)) continue;
        await look(id);
        draw();
      }
    }
  }
  lookAfter();

  return {
    load,
    draw,
    update(animation) {
      const before = known.get(animation.id);
      known.set(animation.id, animation);
      if (before?.status !== animation.status || before?.progress.percent !== animation.progress.percent) draw();
    },
    mark(id) {
      open = id;
      draw();
    },
    removed(id) {
      known.delete(id);
      draw();
      if (!root.hidden) by("gallery-title").focus();
      else by("stage-title").focus();
    },
  };
}
