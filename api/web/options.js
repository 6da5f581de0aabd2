// The options of the form. Only what differs from the defaults is sent, so that the service's own defaults count.

import { by } from "./dom.js";
import { count } from "./words.js";

const LOOKED_AT_ONLY_AT_THE_END = new Set(["views", "size"]);
const NEED_THE_VIDEO = new Set(["comparison", "keypoints"]);

/** `onChange(matters, name)`: `matters` when the preflight may find something else now. */
export function createOptions(form, { onChange }) {
  const elements = form.elements;
  const reference = by("reference");
  const number = by("reference-number");
  const side = by("size");
  let models = [];
  let motion = null; // the kept motion that is used in place of a video

  function show() {
    by("smoothing-value").value = Number(elements.smoothing.value).toString();
    elements.smoothing.style.setProperty("--done", `${100 * elements.smoothing.value}%`);
    number.hidden = reference.value !== "number";
    const changed = Object.keys(fields()).filter((name) => name !== "model").length;
    by("changed").textContent = changed ? `· ${count(changed, "change")}` : "";
    for (const option of form.querySelectorAll("[name=adapt_scale], #reference, #reference-number"))
      option.disabled = elements.motion_transfer.value === "absolute";
    const isWhole = elements.paste_back.checked;
    side.disabled = isWhole;
    side.placeholder = String(models.find((model) => model.name === elements.model.value)?.frame_size ?? "");
    const isWrong = !isWhole && !side.validity.valid;
    side.setAttribute("aria-invalid", String(isWrong));
    by("size-note").classList.toggle("bad", isWrong);
    for (const option of elements.model.options) option.disabled = Boolean(motion) && option.value !== motion.options.model;
    for (const view of elements.views) view.disabled = Boolean(motion) && NEED_THE_VIDEO.has(view.value);
    by("views-note").hidden = !motion;
  }

  function fields() {
    const found = {};
    const set = (name, value, usual) => {
      if (value !== usual) found[name] = String(value);
    };
    if (elements.model.value) found.model = elements.model.value;
    set("motion_transfer", elements.motion_transfer.value, "relative");
    if (elements.motion_transfer.value === "relative") {
      set("adapt_scale", elements.adapt_scale.checked, false);
      set("reference_frame", reference.value === "number" ? number.value || "0" : reference.value, "auto");
    }
    set("smoothing", elements.smoothing.value, "0");
    set("paste_back", elements.paste_back.checked, false);
    set("audio", elements.audio.checked, true);
    // Where every result is marked there is nothing to ask for.
    set("mark", elements.mark.checked && !elements.mark.disabled ? "label" : "none", "none");
    set("format", elements.format.value, "mp4");
    if (!side.disabled) set("size", side.value, "");
    set("views", [...elements.views].filter((one) => one.checked && !one.disabled).map((one) => one.value).join(","), "");
    return found;
  }

  form.addEventListener("input", (event) => {
    show();
    onChange(!LOOKED_AT_ONLY_AT_THE_END.has(event.target.name), event.target.name);
  });
  form.addEventListener("reset", () => {
    const model = elements.model.value;
    queueMicrotask(() => {
      elements.model.value = model;
      show();
      onChange(true, "");
    });
  });
  show();

  return {
    fields,
    /** Every result is marked, asked for or not. */
    alwaysMarked() {
      elements.mark.checked = elements.mark.defaultChecked = elements.mark.disabled = true;
    },
    /** Whether all can be sent; if not, the field that cannot has the focus, and says why. */
    check() {
      if (side.disabled || side.validity.valid) return true;
      form.querySelector("details").open = true;
      return side.reportValidity();
    },
    /** A kept motion is used, which belongs to its model; null: a video. */
    useMotion(used) {
      motion = used;
      if (motion) elements.model.value = motion.options.model;
      show();
    },
    showModels(all) {
      models = all;
      const chosen = elements.model.value;
      elements.model.replaceChildren(
        ...models.map((model) => new Option(`${model.name} · ${model.frame_size} px`, model.name, false, model.is_default)),
      );
      if (models.some((model) => model.name === chosen)) elements.model.value = chosen;
      const longest = models.length === 1 ? models[0].description : "";
      elements.model.title = longest;
      show();
    },
  };
}
