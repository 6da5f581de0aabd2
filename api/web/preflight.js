// Looks at both files before anything is queued: crops, faces, how well the poses match, how long it will take, one frame.
// The page works without it too: a service may have none, or none that is free now.

import { make, sleep } from "./dom.js";
import { at, Problem, read } from "./service.js";
import { count, size, span } from "./words.js";

const SETTLED_MS = 500;
const SENT_UNASKED_MAX_BYTES = 25e6;
const MATCHES = { good: "Good match", fair: "Fair match", poor: "Poor match" };

/**
 * `form()` makes the form; `onFound(answer)` with what was found, `onProblem(problem)` when the files or options cannot
 * be used, `onNothing()` when nothing is known (any more).
 */
export function createPreflight(root, { form, onFound, onProblem, onNothing }) {
  let running = null;
  let isAbsent = false;
  let mayBeLarge = false;

  function show(state, ...children) {
    root.dataset.state = state;
    root.hidden = !children.length;
    root.replaceChildren(...children);
  }

  function stop() {
    running?.abort();
    running = null;
  }

  async function look(bytes, known) {
    stop();
    if (isAbsent) return;
    if (bytes > SENT_UNASKED_MAX_BYTES && !mayBeLarge) {
      const now = () => { mayBeLarge = true; look(bytes, false); };
      const button = make("button", { type: "button", class: "quiet", click: now }, "Look now");
      show("asked", make("p", {}, `A look ahead would send ${size(bytes)} first. `), button);
      return;
    }
    const mine = (running = new AbortController());
    if (known) root.dataset.state = "again";
    else show("looking", make("p", {}, make("span", { class: "spinner", "aria-hidden": "true" }), "Looking at both files …"));
    await sleep(SETTLED_MS, mine.signal);
    if (mine.signal.aborted) return;
    try {
      const found = await read(at("animations/preflight"), { method: "POST", body: form(), signal: mine.signal });
      if (mine.signal.aborted) return;
      tell(found);
      onFound(found);
    } catch (problem) {
      if (mine.signal.aborted || problem.name === "AbortError") return;
      if (!(problem instanceof Problem)) throw problem;
      fail(problem, bytes);
    } finally {
      if (running === mine) running = null;
    }
  }

  function fail(problem, bytes) {
    onNothing();
    if ((problem.status === 404 || problem.status === 405) && problem.code !== "animation_not_found") {
      isAbsent = true;
      return show("absent");
    }
    if (problem.isConnection || problem.status >= 500 || problem.status === 429) {
      const again = make("button", { type: "button", class: "quiet", click: () => look(bytes, false) }, "Look again");
      const why = problem.isConnection ? "" : ` ${problem.detail}`;
      show("away", make("p", {}, `The look ahead is not to be had now.${why} You can start all the same. `), again);
      return;
    }
    show("refused");
    if (problem.status !== 401) onProblem(problem);
  }

  function tell({ mismatch, reference_frame: reference, warnings = [] }) {
    const facts = make("ul", { class: "facts" });
    if (mismatch) {
      const text = make("span", {}, make("strong", {}, MATCHES[mismatch.level] ?? mismatch.level), mismatch.hint ? ` ${mismatch.hint}` : "");
      facts.append(make("li", { class: `match ${mismatch.level}` }, make("span", { class: "dot", "aria-hidden": "true" }), text));
    }
    if (reference !== null && reference !== undefined) facts.append(make("li", {}, `Starts from frame ${reference}`));
    for (const warning of warnings) facts.append(make("li", { class: "warning" }, warning));
    show("found", facts);
  }

  return {
    look,
    stop,
    clear() {
      stop();
      show("none");
      onNothing();
    },
  };
}

/** "107 frames, about 12 s" */
export function estimated({ frames, seconds }) {
  const many = count(frames, "frame");
  return seconds === null || seconds === undefined ? many : `${many}, about ${span(seconds)}`;
}

/** The preview as an address that an `img` can show. */
export const previewUrl = (preview) => (preview ? `data:${preview.media_type};base64,${preview.data}` : "");
