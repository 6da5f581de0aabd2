// The page: what is chosen, what is watched, and how one becomes the other.

import { by } from "./dom.js";
import { createGallery } from "./gallery.js";
import { createMotions, factsOf } from "./motions.js";
import { createKeyForm, hideProblem, showLine, showProblem } from "./notices.js";
import { createOptions } from "./options.js";
import { createPanel, panelFor } from "./panel.js";
import { createPlayer } from "./player.js";
import { createPreflight, estimated, previewUrl } from "./preflight.js";
import { canRecord, createRecorder } from "./recorder.js";
import { createResult } from "./result.js";
import { createRunning } from "./running.js";
import { showSamples } from "./samples.js";
import { at, Problem, read } from "./service.js";
import { size, span } from "./words.js";

const chosen = { source: null, driving: null, motion: null, title: "" }; // with a motion, `driving` is only shown
let limits = null;

const player = createPlayer(by("transport"));
const result = createResult(by("result-panel"), {
  standing: () => player.standing,
  onShown(video, resume) {
    const driving = panels.driving.isVideo ? panels.driving.media : null;
    player.use({ result: video, driving, hasSound: Boolean(video && running.watched?.result?.has_audio), resume });
    if (!video) player.hide();
  },
  onBroken: () => running.reopen(),
});
const panels = {};
for (const [kind, name] of [["source", "picture"], ["driving", "video"]]) {
  panels[kind] = createPanel(by(`${kind}-panel`), {
    kind,
    name,
    onFile: (file) => take([file], kind),
    onCrop: () => { motions.leave(); lookAhead(); },
    onLeave: () => { chooseMotion(null); panels.driving.focusChoose(); },
    onMedia: () => isComposing() && player.use({ driving: panels.driving?.isVideo ? panels.driving.media : null }),
  });
}
const options = createOptions(by("compose"), {
  onChange(matters, name) {
    if (name === "model") motions.leave();
    if (matters) lookAhead(true);
  },
});
const preflight = createPreflight(by("ahead"), {
  form: makeForm,
  onFound(found) {
    if (!isComposing()) return;
    panels.source.showFound(found.source);
    panels.driving.showFound(found.driving);
    by("estimate").textContent = estimated(found.estimate);
    result.preview(previewUrl(found.preview));
  },
  onNothing() {
    by("estimate").textContent = "";
    if (isComposing()) result.preview("");
  },
  onProblem: (problem) => isComposing() && showProblem(problem),
});
const gallery = createGallery(by("gallery"), { onOpen: (id) => running.open(id), onDelete: askToDelete });
const motions = createMotions(by("motions"), {
  onUse(motion, name, file) {
    if (!isComposing()) compose();
    chooseMotion(motion, name, file);
    by("stage").scrollIntoView({ block: "start" });
    by(isComplete() ? "start" : "stage-title").focus({ preventScroll: true });
  },
  onDelete: askToDelete,
  onProblem: showProblem,
});
const running = createRunning({ chosen, panels, player, preflight, result, gallery, makeForm, compose, isComplete, title });
const recorder = createRecorder(by("recorder"), { onFile: (file) => take([file], "driving") });

const isComposing = () => by("stage").dataset.mode === "compose";

// -- choosing

function take(files, droppedOn) {
  if (!isComposing()) compose();
  hideProblem();
  for (const file of files) {
    const kind = panelFor(file, droppedOn) ?? droppedOn;
    const most = limits?.media[kind === "source" ? "image_max_bytes" : "video_max_bytes"];
    if (!kind) {
      showProblem(new Problem({ title: "The file cannot be used", detail: `“${file.name}” is neither a picture nor a video.`, code: "unsupported_media_type" }));
    } else if (most && file.size > most) {
      const field = kind === "source" ? "source_image" : "driving_video";
      const detail = `“${file.name}” has ${size(file.size)}; at most ${size(most)} are accepted.`;
      showProblem(new Problem({ title: "A file is too large", detail, field, code: "part_too_large" }));
    } else {
      choose(kind, file, file.name.replace(/\.[^.]+$/, ""));
    }
  }
}

function choose(kind, file, title) {
  chosen[kind] = file;
  if (kind === "driving") chosen.motion = null;
  if (kind === "source" || !chosen.title) chosen.title = title;
  panels[kind].resetChoice();
  showChosen(kind);
}

/** Take a kept motion in the place of a video, and show its video where there is one; null: neither. */
function chooseMotion(motion, title = "", file = null) {
  Object.assign(chosen, { driving: file, motion });
  if (!chosen.title) chosen.title = title;
  panels.driving.resetChoice();
  hideProblem();
  showChosen("driving");
}

function showChosen(...kinds) {
  if (!isComposing()) return;
  for (const kind of kinds) panels[kind].show(chosen[kind], { editable: true, kept: keptIn(kind) });
  options.useMotion(chosen.motion);
  motions.leave();
  motions.mark(chosen.motion?.id ?? "");
  by("keeping-motion").hidden = !chosen.driving || Boolean(chosen.motion);
  by("start").disabled = !isComplete();
  lookAhead();
}

/** What there is to say of the kept motion in the panel `kind`. */
const keptIn = (kind) => (kind === "driving" && chosen.motion ? factsOf(chosen.motion) : "");

function makeForm() {
  const { source, driving, motion } = chosen;
  const byMotion = motion && { motion: motion.id };
  const fields = { ...options.fields(), ...panels.source.fields(), ...(byMotion ?? panels.driving.fields()) };
  return formOf(fields, { source_image: source, ...(!motion && { driving_video: driving }) });
}

function formOf(fields, files) {
  const form = new FormData();
  for (const [name, value] of Object.entries({ ...fields, ...files })) form.append(name, value);
  return form;
}

function isComplete() {
  return Boolean(chosen.source && (chosen.driving || chosen.motion));
}

function lookAhead(isRefinement = false) {
  if (!isComposing()) return;
  hideProblem();
  if (isComplete()) preflight.look(chosen.source.size + (chosen.motion ? 0 : chosen.driving.size), isRefinement);
  else preflight.clear();
}

function compose() {
  running.leave();
  hideProblem();
  by("stage").dataset.mode = "compose";
  delete by("stage").dataset.lone;
  title("New animation", "Choose a picture and a video. The picture will move like the video.");
  by("again").hidden = true;
  by("compose").hidden = false;
  history.replaceState(null, "", location.pathname + location.search);
  result.clear();
  result.forgetPreview();
  player.hide();
  gallery.mark("");
  showChosen("source", "driving");
}

function title(text, note = "") {
  by("stage-title").textContent = text;
  by("stage-note").textContent = note;
}

const CONFIRM = {
  anm: ["animation", "The result and both files are removed from the service and from this browser."],
  mot: ["motion", "It is removed from the service and from this browser. Animations that were made with it stay."],
};

function askToDelete(id) {
  const dialog = by("confirm");
  dialog.dataset.id = id;
  const [what, more] = CONFIRM[id.slice(0, 3)];
  by("confirm-title").textContent = `Delete this ${what}?`;
  by("confirm-what").textContent = `${more} This cannot be undone.`;
  dialog.showModal();
  dialog.querySelector("[data-do=no]").focus();
}

// -- from the beginning

async function load() {
  const [models, allLimits] = await Promise.all([read(at("models")), read(at("limits"))]);
  options.showModels(models.data);
  limits = allLimits;
  if (limits.disclosure.mark === "always") options.alwaysMarked();
  by("keeping").textContent = `Files and results stay on this service for ${span(limits.retention.retention_s)}, or until you delete them.`;
}

async function begin() {
  try {
    await load();
    showLine(true);
  } catch (problem) {
    if (problem.isConnection) {
      showLine(false);
      setTimeout(begin, 3000);
    } else if (problem.status !== 401) showProblem(problem, { retry: begin });
    return;
  }
  const asked = /^#(anm_[0-9a-z]+)$/.exec(location.hash)?.[1];
  if (asked) running.open(asked);
  motions.load();
  const going = await gallery.load();
  if (!asked && going && isComposing() && !chosen.source && !chosen.driving && !chosen.motion) running.open(going);
}

by("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!by("start").disabled && options.check()) running.start();
});
by("again").addEventListener("click", () => { compose(); by("stage-title").focus(); });
by("cancel").addEventListener("click", () => running.cancel());
by("delete").addEventListener("click", () => askToDelete(running.watched.id));
by("confirm").addEventListener("click", (event) => {
  const answer = event.target.dataset.do;
  if (answer) by("confirm").close();
  const { id } = by("confirm").dataset;
  if (answer !== "yes") return;
  if (id.startsWith("anm_")) return running.remove(id);
  if (id === chosen.motion?.id) chooseMotion(null);
  motions.remove(id);
});
by("keep").addEventListener("click", () => {
  const { model } = options.fields();
  const form = formOf({ ...(model && { model }), ...panels.driving.fields() }, { driving_video: chosen.driving });
  motions.start(form, chosen.driving, chosen.driving.name.replace(/\.[^.]+$/, ""));
});
by("use-kept").addEventListener("click", () => motions.focus());
for (const record of document.querySelectorAll(".record")) {
  record.hidden = !canRecord();
  record.addEventListener("click", () => recorder.open(limits?.media.video_max_duration_s ?? 60));
}
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  const panel = event.target.closest?.(".panel")?.id;
  take([...event.dataTransfer.files].slice(0, 2), { "source-panel": "source", "driving-panel": "driving" }[panel]);
});
addEventListener("beforeunload", (event) => (running.isSending || motions.isSending) && event.preventDefault());
addEventListener("hashchange", () => {
  const id = /^#(anm_[0-9a-z]+)$/.exec(location.hash)?.[1];
  if (id && id !== running.watched?.id) running.open(id);
});
addEventListener("offline", () => showLine(false));
addEventListener("online", () => showLine(true));

for (const panel of Object.values(panels)) panel.show(null, { editable: true });
createKeyForm({ onKey: () => begin().then(() => lookAhead()) });
showSamples(by("samples"), {
  onPair(source, driving, name) {
    if (!isComposing()) compose();
    choose("source", source, name);
    choose("driving", driving, name);
    by("stage").scrollIntoView({ block: "start" });
    by("start").focus({ preventScroll: true });
  },
  onProblem: showProblem,
});
begin();
