// From the click on Animate to the result, and back to it later: sending, following, canceling, deleting.

import { by, say } from "./dom.js";
import { follow, isFinal } from "./follow.js";
import { filesOf, forget, keepFiles, list, remember, thumbnail } from "./library.js";
import { hideProblem, showLine, showProblem } from "./notices.js";
import { ask, at, newKey, Problem, send } from "./service.js";
import { count, size, STATUS_NAMES } from "./words.js";

const NOT_HERE = "This file is not kept in this browser.";

/**
 * `chosen` has the files that are chosen, `isComplete()` whether they suffice, `makeForm()` the form with them, `compose()`
 * goes back to choosing;
 * the rest are the parts of the page.
 */
export function createRunning({ chosen, panels, player, preflight, result, gallery, makeForm, compose, isComplete, title }) {
  let task = null; // AbortController of the upload or of what is followed
  let watched = null; // the animation that is shown
  let isSending = false;
  let reopenedAt = 0;

  async function start(idempotencyKey = newKey()) {
    const [form, { source, driving, title: name }] = [makeForm(), { ...chosen }];
    preflight.stop();
    watch();
    title("Sending the files");
    by("stage-title").focus();
    task = new AbortController();
    const mine = task;
    isSending = true;
    let animation;
    try {
      result.going(0, "Sending the files");
      animation = await send(at("animations"), form, {
        signal: mine.signal,
        more: { "Idempotency-Key": idempotencyKey },
        onProgress(sent, total) {
          const isOver = sent >= total;
          result.going(isOver ? null : (100 * sent) / total, isOver ? "The service looks at the files" : `${size(sent)} of ${size(total)} sent`);
        },
      });
    } catch (problem) {
      if (task === mine) compose();
      // After a lost connection nobody knows whether it arrived: with the same key it is never done twice.
      const retry = () => start(problem.isConnection ? idempotencyKey : newKey());
      if (problem instanceof Problem) showProblem(problem, { retry: problem.isConnection || problem.status >= 429 ? retry : null });
      else if (problem.name !== "AbortError") throw problem;
      return;
    } finally {
      isSending = false;
    }
    const entry = { id: animation.id, created: animation.created_at, title: name, thumb: "" };
    remember(entry); // at once: a page that is closed now finds it again
    remember({ ...entry, thumb: await thumbnail(source) });
    keepFiles(animation.id, source, driving);
    if (task === mine) show(animation.id, animation);
  }

  /** The stage is for watching from now on. */
  function watch() {
    by("stage").dataset.mode = "watch";
    delete by("stage").dataset.lone;
    hideProblem();
    by("compose").hidden = true;
    by("again").hidden = false;
    player.hide();
    by("keeping-motion").hidden = true;
    for (const panel of Object.values(panels)) panel.show(chosen[panel.kind], { editable: false, missing: NOT_HERE });
  }

  async function open(id) {
    task?.abort();
    const mine = (task = new AbortController());
    preflight.stop();
    result.clear();
    result.forgetPreview();
    watch();
    const files = await filesOf(id);
    if (task !== mine) return;
    if (!files) by("stage").dataset.lone = "true"; // another browser's: only what the service has can be shown
    const entry = list().find((one) => one.id === id);
    if (entry?.thumb) result.useAsPoster(entry.thumb);
    for (const panel of Object.values(panels))
      panel.show(files?.[panel.kind] ?? null, { editable: false, missing: NOT_HERE });
    by("stage-title").focus({ preventScroll: true });
    show(id, null);
  }

  /** Follow the animation `id` on the stage. */
  async function show(id, animation) {
    const mine = (task = new AbortController());
    history.replaceState(null, "", `#${id}`);
    gallery.mark(id);
    watched = null;
    if (animation) showAnimation(animation);
    else title("Animation");
    try {
      await follow(id, { signal: mine.signal, onChange: showAnimation, onLine: showLine });
    } catch (problem) {
      if (mine.signal.aborted || problem.status === 401) return;
      result.ended("It is not there any more.");
      title("Animation");
      showProblem(problem);
    }
  }

  function showAnimation(animation) {
    const before = watched?.status;
    watched = animation;
    gallery.update(animation);
    const facts = animation.input.driving_video;
    title(
      animation.status === "succeeded" ? "Your animation" : STATUS_NAMES[animation.status],
      `${animation.options.model} · ${count(facts.frames, "frame")}`,
    );
    if (!isFinal(animation)) return result.running(animation);
    if (animation.status === "succeeded") result.done(animation);
    if (animation.status === "failed") {
      result.ended("It did not work out.");
      showProblem(new Problem(animation.error), { retry: isComplete() ? compose : null, retryLabel: "Back to the files" });
    }
    if (animation.status === "canceled") result.ended("Canceled.");
    if (before && before !== animation.status) say(animation.status === "succeeded" ? "The animation is ready." : `The animation ${animation.status === "failed" ? "failed" : "was canceled"}.`);
  }

  /** The link to the result has expired, or the connection broke: ask for a new one, once. */
  async function reopen() {
    if (!watched || Date.now() - reopenedAt < 10_000) return result.ended("The result cannot be played here. Download it to look at it.");
    reopenedAt = Date.now();
    const { id } = watched;
    result.clear();
    show(id, null);
  }

  async function cancel() {
    if (isSending) return task.abort();
    if (!watched?.links.cancel) return;
    by("cancel").disabled = true;
    try {
      const answer = await ask(new URL(watched.links.cancel, location.origin), { method: "POST" });
      showAnimation(await answer.json());
    } catch (problem) {
      by("cancel").disabled = false;
      if (problem.code !== "already_terminal") showProblem(problem, { retry: cancel });
    }
  }

  async function remove(id) {
    try {
      await ask(at(`animations/${id}`), { method: "DELETE" });
    } catch (problem) {
      return showProblem(problem, { retry: () => remove(id) });
    }
    await forget(id);
    if (watched?.id === id || location.hash === `#${id}`) compose();
    gallery.removed(id);
    say("Deleted.");
  }

  return {
    start: () => start(),
    open,
    reopen,
    cancel,
    remove,
    /** Nothing is watched any more. */
    leave() {
      task?.abort();
      task = watched = null;
      showLine(true);
    },
    get watched() {
      return watched;
    },
    get isSending() {
      return isSending;
    },
  };
}
