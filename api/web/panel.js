// One of the two panels for files: shows a picture or a video, takes another by button or drop, and has the crop.

import { createCropBox, middle } from "./crop.js";
import { make } from "./dom.js";
import { size } from "./words.js";

const MOVING_IMAGES = new Set(["image/gif", "image/webp"]);

/**
 * `kind` is "source" or "driving"; `onFile(file)` for a chosen one, `onCrop()` when crop or subject are changed by hand,
 * `onLeave()` when what is shown as it is shall give way to another choice.
 */
export function createPanel(root, { kind, name, onFile, onCrop, onMedia, onLeave }) {
  const frame = root.querySelector(".frame");
  const foot = root.querySelector(".foot");
  const prompt = frame.querySelector(".prompt");
  const input = frame.querySelector("input");
  const choose = () => input.click();
  let media = null;
  let url = "";
  let pixels = null; // {width, height}, upright
  let isEditable = true;
  let standing = ""; // what there is to say of a kept motion, whose square is chosen already
  const choice = { mode: "auto", square: null, subject: 0 };

  prompt.querySelector(".choose").addEventListener("click", choose);
  input.addEventListener("change", () => {
    if (input.files[0]) onFile(input.files[0]);
    input.value = "";
  });
  frame.addEventListener("dragover", (event) => {
    event.preventDefault();
    frame.classList.add("over");
  });
  frame.addEventListener("dragleave", () => frame.classList.remove("over"));
  frame.addEventListener("drop", () => frame.classList.remove("over"));

  const crop = createCropBox(frame, {
    label: `The part of the ${name} that is used`,
    onChange(square) {
      choice.mode = "by hand";
      choice.square = square;
      mode.value = "by hand";
      onCrop();
    },
    onSubject: (index) => chooseSubject(index),
  });

  // -- the line under the frame

  const facts = make("p", { class: "subtle name" });
  const replace = make("button", { type: "button", class: "quiet", click: () => (standing ? onLeave() : choose()) }, "Replace");
  const mode = make(
    "select",
    { "aria-label": `Part of the ${name}`, change: () => chooseMode() },
    make("option", { value: "auto" }, "subject"),
    make("option", { value: "none" }, "full square"),
    make("option", { value: "by hand" }, "by hand"),
  );
  const faces = make("div", { class: "faces", role: "radiogroup", "aria-label": `Whose face of the ${name}`, hidden: true });
  const usedPart = make("label", { class: "used" }, "Used: ", mode);
  foot.append(facts, make("div", { class: "line edit" }, usedPart, replace), faces);

  function chooseMode() {
    choice.mode = mode.value;
    if (mode.value === "by hand" && pixels) {
      choice.square = choice.square || middle(pixels.width, pixels.height);
      crop.show(pixels.width, pixels.height, choice.square);
    } else if (mode.value === "none" && pixels) {
      crop.show(pixels.width, pixels.height, middle(pixels.width, pixels.height));
    } else {
      crop.hide(); // until the service says what it found
    }
    onCrop();
  }

  function chooseSubject(index) {
    choice.subject = index;
    choice.mode = mode.value = "auto";
    onCrop();
  }

  function showFaces(subjects) {
    faces.hidden = subjects.length < 2;
    const isChosen = (index) => choice.mode === "auto" && index === choice.subject;
    if (faces.childElementCount === subjects.length + 1) {
      for (const radio of faces.querySelectorAll("input")) radio.checked = isChosen(Number(radio.value));
      return; // kept, so that the keyboard's focus stays where it is
    }
    faces.replaceChildren(
      make("span", {}, `${subjects.length} faces:`),
      ...subjects.map(({ index }) => {
        const radio = make("input", { type: "radio", name: `${kind}-face`, value: String(index), change: () => chooseSubject(index) });
        radio.checked = isChosen(index);
        return make("label", {}, radio, make("span", {}, String(index + 1)));
      }),
    );
  }

  // -- what is in the frame

  function element(file) {
    const isImage = kind === "source" || file.type.startsWith("image/");
    const made = isImage
      ? make("img", { alt: `The ${name}${file.name ? `: ${file.name}` : ""}` })
      : make("video", { "aria-label": `The ${name}`, preload: "auto", playsinline: true });
    if (!isImage) made.muted = true;
    made.addEventListener(isImage ? "load" : "loadedmetadata", () => {
      if (made !== media) return;
      pixels = { width: made.naturalWidth || made.videoWidth, height: made.naturalHeight || made.videoHeight };
      const long = made.duration && Number.isFinite(made.duration) ? ` · ${made.duration.toFixed(1)} s` : "";
      if (!standing) facts.textContent = `${pixels.width}×${pixels.height}${long} · ${size(file.size)}`;
      onMedia();
    });
    made.addEventListener("error", () => {
      if (made !== media) return;
      // The service reads more formats than browsers do.
      made.replaceWith((media = make("p", { class: "note" }, `This browser cannot show the ${name}. The service may still read it.`)));
      onMedia();
    });
    return made;
  }

  return {
    kind,
    get media() {
      return media;
    },
    get isVideo() {
      return media instanceof HTMLVideoElement;
    },
    get faceCount() {
      return faces.hidden ? 1 : faces.childElementCount - 1;
    },
    /** The fields of the form that this panel decides, but only those that differ from what happens without them. */
    fields() {
      const prefix = kind === "source" ? "" : "driving_";
      const fields = {};
      if (choice.mode === "none") fields[`${kind}_crop`] = "none";
      if (choice.mode === "by hand" && choice.square) fields[`${kind}_crop`] = choice.square.join(",");
      if (choice.mode === "auto" && choice.subject) fields[`${prefix}subject`] = String(choice.subject);
      return fields;
    },
    resetChoice() {
      Object.assign(choice, { mode: "auto", square: null, subject: 0 });
      mode.value = "auto";
      crop.hide();
      showFaces([]);
    },
    /**
     * Show `file`, or the prompt when there is none; `editable`: with the crop and a way to replace it; `kept`: what there
     * is to say of a kept motion, whose crop is chosen already, and whose file may not be there.
     */
    show(file, { editable, missing = "", kept = "" }) {
      URL.revokeObjectURL(url);
      media?.remove();
      isEditable = editable && !kept;
      standing = kept;
      [media, url, pixels] = [null, "", null];
      facts.textContent = kept;
      prompt.hidden = Boolean(file || kept) || !editable;
      root.querySelector(".edit").hidden = !(file || kept) || !editable;
      usedPart.hidden = Boolean(kept);
      crop.hide();
      showFaces([]);
      if (file) {
        url = URL.createObjectURL(file);
        media = element(file);
        media.src = url;
        if (!kept) facts.textContent = size(file.size);
      } else if (kept || !editable) {
        media = make("p", { class: "note" }, kept ? "A kept motion. Its video is not in this browser." : missing);
      }
      if (media) frame.prepend(media);
      onMedia();
    },
    /** What the preflight found in this file. */
    showFound({ width, height, crop: square, subjects = [], subject = 0 }) {
      if (!isEditable || !media) return;
      showFaces(subjects);
      if (media.matches(".note")) return; // a square over words says nothing
      if (choice.mode !== "by hand") crop.show(width, height, square, subjects, choice.mode === "auto" ? subject : -1);
      else crop.show(width, height, choice.square);
    },
    focusChoose() {
      prompt.querySelector(".choose").focus();
    },
  };
}

/** Which panel a dropped file is for; null when it is neither. Moving pictures go where they were dropped. */
export function panelFor(file, droppedOn) {
  if (MOVING_IMAGES.has(file.type)) return droppedOn ?? "driving";
  if (file.type.startsWith("image/")) return "source";
  if (file.type.startsWith("video/") || /\.(mkv|mpe?g|3gp|mov|webm|mp4)$/i.test(file.name)) return "driving";
  return null;
}
