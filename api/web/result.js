// The third panel: what is going on, and then the result with its views.

import { by, make } from "./dom.js";
import { at, signed } from "./service.js";
import { count, size, span, VIEW_NAMES } from "./words.js";

const WIDE = 1.5;

/** `onShown(video or null, resume)` when another video is to be played, `onBroken()` when it cannot be loaded. */
export function createResult(root, { onShown, onBroken, standing }) {
  const frame = root.querySelector(".frame");
  const progress = frame.querySelector(".progress");
  const bar = progress.querySelector("[role=progressbar]");
  const foot = root.querySelector(".foot");
  const note = make("p", { class: "subtle" });
  foot.append(note);
  let media = null;
  let shown = "";
  let poster = "";

  function put(element, className = "") {
    delete by("stage").dataset.wide;
    media?.remove();
    media = element;
    frame.dataset.has = className;
    if (element) frame.prepend(element);
  }

  function clear() {
    put(null);
    progress.hidden = true;
    shown = note.textContent = "";
    for (const id of ["outcome", "result-facts"]) by(id).hidden = true;
  }

  /** One frame that the preflight made; the background of all that follows. */
  function preview(url) {
    poster = url;
    if (progress.hidden) {
      put(url ? make("img", { src: url, alt: "Preview: one frame of the result" }) : null, url ? "preview" : "");
      note.textContent = url ? "Preview of one frame" : "";
    }
  }

  function going(percent, doing, { canCancel = true, left = "" } = {}) {
    if (progress.hidden) {
      clear();
      put(poster ? make("img", { src: poster, alt: "" }) : null, "going");
      progress.hidden = false;
    }
    const whole = Math.floor(percent ?? 0);
    progress.querySelector(".percent").firstChild.data = String(whole);
    progress.querySelector(".percent").hidden = percent === null;
    progress.querySelector(".doing").replaceChildren(doing, make("span", { class: "left" }, left));
    bar.classList.toggle("unknown", percent === null);
    if (percent === null) bar.removeAttribute("aria-valuenow");
    else bar.setAttribute("aria-valuenow", String(whole));
    bar.setAttribute("aria-valuetext", left ? `${doing}, ${left}` : doing);
    bar.firstElementChild.style.width = `${percent ?? 100}%`;
    by("cancel").disabled = !canCancel;
  }

  function running(animation) {
    const { status, progress: done, queue_position: before, eta_s: eta } = animation;
    const more = { canCancel: !animation.cancel_requested, left: eta ? `about ${span(eta)} left` : "" };
    if (animation.cancel_requested) going(done.percent || null, "Canceling …", more);
    else if (status === "queued") going(null, before ? `${before} before it in the queue` : "Next in the queue", more);
    else if (!done.frames_done) going(null, "Reading the motion", more);
    else going(done.percent, `${done.frames_done} of ${count(done.frames_total, "frame")}`, more);
  }

  function ended(text) {
    clear();
    put(make("p", { class: "note" }, text), "ended");
  }

  const address = (animation, name) => {
    if (name === "result") return signed(animation.links.result, animation.result.url);
    return signed(at(`animations/${animation.id}/views/${name}`), viewsOf(animation)[name].url);
  };

  function done(animation) {
    const isSame = shown && by("outcome").dataset.shown === animation.id;
    if (isSame) return;
    clear();
    const { result } = animation;
    const outcome = by("outcome");
    outcome.dataset.shown = animation.id;
    outcome.hidden = false;
    const names = ["result", ...Object.keys(VIEW_NAMES).filter((name) => viewsOf(animation)[name])];
    const views = by("views");
    views.hidden = names.length < 2;
    views.replaceChildren(
      ...names.map((name) =>
        make("button", { type: "button", "data-view": name, click: () => showView(animation, name) }, VIEW_NAMES[name] ?? name),
      ),
    );
    const facts = by("result-facts");
    facts.replaceChildren(...result.warnings.map((warning) => make("li", { class: "warning" }, warning)));
    facts.hidden = !result.warnings.length;
    showView(animation, "result");
  }

  function showView(animation, name) {
    const resume = shown ? standing() : null;
    shown = name;
    for (const button of by("views").children) button.setAttribute("aria-pressed", String(button.dataset.view === name));
    const { result } = animation;
    const facts = name === "result" ? result : viewsOf(animation)[name];
    const url = address(animation, name);
    by("download").href = url;
    const pixels = facts.width ? `${facts.width}×${facts.height} · ` : "";
    note.textContent = `${pixels}${name === "result" ? `${count(result.frames, "frame")} · ` : ""}${size(facts.size_bytes)}`;
    const label = `${VIEW_NAMES[name] ?? name} of the animation`;
    if (facts.media_type.startsWith("video/")) {
      const video = make("video", { "aria-label": label, preload: "auto", playsinline: true });
      video.muted = true;
      // Views that show pictures beside each other have the whole row: they contain what the other panels show.
      video.addEventListener("loadedmetadata", () => {
        const shape = video.videoWidth / video.videoHeight;
        if (video !== media || name === "result" || shape < WIDE) return;
        frame.style.setProperty("--shape", String(shape));
        by("stage").dataset.wide = "true";
      });
      let wasBroken = false;
      video.addEventListener("error", () => {
        if (video !== media || wasBroken) return;
        wasBroken = true;
        onBroken();
      });
      video.src = url;
      put(video, "video");
      onShown(video, resume);
    } else if (facts.media_type.startsWith("image/")) {
      put(make("img", { src: url, alt: label }), "video");
      onShown(null, null);
    } else {
      put(make("p", { class: "note" }, `${count(result.frames, "frame")} as PNG files in one zip: download it.`), "ended");
      onShown(null, null);
    }
  }

  return { clear, preview, going, running, ended, done, forgetPreview: () => { poster = ""; }, useAsPoster: (url) => { poster ||= url; } };
}

const viewsOf = (animation) => animation.views ?? animation.result?.views ?? {};
