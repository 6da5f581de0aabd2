// The page: what is chosen, what is watched, and how one becomes the other.

import { by } from "./dom.js";
import { createGallery } from "./gallery.js";
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

const chosen = { source: null, driving: null, title: "" };
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
    onCrop: () => lookAhead(),
    onMedia: () => isComposing() && player.use({ driving: panels.driving?.isVideo ? panels.driving.media : null }),
  });
}
const options = createOptions(by("compose"), { onChange: (matters) => matters && lookAhead(true) });
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
const running = createRunning({ chosen, panels, player, preflight, result, gallery, makeForm, compose, title });
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
  if (kind === "source" || !chosen.title) chosen.title = title;
  panels[kind].resetChoice();
  panels[kind].show(file, { editable: true });
  lookAhead();
  by("start").disabled = !(chosen.source && chosen.driving);
}

function makeForm(more = {}) {
  const form = new FormData();
  const fields = { ...options.fields(), ...panels.source.fields(), ...panels.driving.fields(), ...more };
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  form.append("source_image", chosen.source);
  form.append("driving_video", chosen.driving);
  return form;
}

function lookAhead(isRefinement = false) {
  if (!isComposing()) return;
  hideProblem();
  if (chosen.source && chosen.driving) preflight.look(chosen.source.size + chosen.driving.size, isRefinement);
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
  for (const panel of Object.values(panels)) panel.show(chosen[panel.kind], { editable: true });
  by("start").disabled = !(chosen.source && chosen.driving);
  gallery.mark("");
  lookAhead();
}

function title(text, note = "") {
  by("stage-title").textContent = text;
  by("stage-note").textContent = note;
}

function askToDelete(id) {
  const dialog = by("confirm");
  dialog.dataset.id = id;
  dialog.showModal();
  dialog.querySelector("[data-do=no]").focus();
}

// -- from the beginning

async function load() {
  const [models, allLimits] = await Promise.all([read(at("models")), read(at("limits"))]);
  options.showModels(models.data);
  limits = allLimits;
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
  const going = await gallery.load();
  if (!asked && going && isComposing() && !chosen.source && !chosen.driving) running.open(going);
}

by("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!by("start").disabled) running.start();
});
by("again").addEventListener("click", () => { compose(); by("stage-title").focus(); });
by("cancel").addEventListener("click", () => running.cancel());
by("delete").addEventListener("click", () => askToDelete(running.watched.id));
by("confirm").addEventListener("click", (event) => {
  const answer = event.target.dataset.do;
  if (answer) by("confirm").close();
  if (answer === "yes") running.remove(by("confirm").dataset.id);
});
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
addEventListener("beforeunload", (event) => running.isSending && event.preventDefault());
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
