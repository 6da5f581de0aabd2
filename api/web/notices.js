// Errors in plain words, the banner for a lost connection, and the field for the API key.

import { by, make } from "./dom.js";
import { key } from "./service.js";
import { span } from "./words.js";

const FIELD_NAMES = { source_image: "the picture", driving_video: "the video", motion: "the kept motion" };
const FIELDS = { source: ["source_image"], driving: ["driving_video", "motion"] };

/** Show `problem` in the alert under the panels; `retry` adds a button. */
export function showProblem(problem, { retry = null, retryLabel = "Try again" } = {}) {
  const root = by("problem");
  const where = FIELD_NAMES[problem.field] ? ` (${FIELD_NAMES[problem.field]})` : "";
  const details = [problem.code, problem.requestId].filter(Boolean).join(" · ");
  root.replaceChildren(
    make("h2", {}, `${problem.title}${where}`),
    problem.detail && make("p", {}, problem.detail) || "",
    problem.fields.length > 1 ? make("ul", {}, ...problem.fields.map((one) => make("li", {}, `${one.field}: ${one.detail}`))) : "",
    problem.hint ? make("p", { class: "hint" }, problem.hint) : "",
    problem.retryAfterS && problem.status !== 202 ? make("p", {}, `It is worth trying again in ${span(problem.retryAfterS)}.`) : "",
    make(
      "div",
      { class: "line" },
      retry && make("button", { type: "button", click: () => { hideProblem(); retry(); } }, retryLabel),
      make("button", { type: "button", class: "quiet", click: hideProblem }, "Close"),
      details && make("code", {}, details),
    ),
  );
  root.hidden = false;
  for (const [kind, fields] of Object.entries(FIELDS)) by(`${kind}-panel`).classList.toggle("wrong", fields.includes(problem.field));
}

export function hideProblem() {
  by("problem").hidden = true;
  for (const kind of Object.keys(FIELDS)) by(`${kind}-panel`).classList.remove("wrong");
}

export function showLine(isOn) {
  by("offline").hidden = isOn;
}

/** Asks for the key when the service wants one. `onKey()` when there is a new one. */
export function createKeyForm({ onKey }) {
  const form = by("key-form");
  const field = by("key-field");
  const button = by("key-button");
  const refused = by("key-refused");

  function show() {
    form.hidden = false;
    by("key-forget").hidden = !key.get();
    field.focus();
  }

  window.addEventListener("key-needed", (event) => {
    refused.hidden = !key.get();
    refused.textContent = `${event.detail.detail} Is it complete, and not revoked?`;
    button.hidden = false;
    if (form.hidden) show();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    key.set(field.value.trim());
    field.value = "";
    form.hidden = true;
    button.hidden = false;
    by("stage-title").focus();
    onKey();
  });
  by("key-forget").addEventListener("click", () => {
    key.set("");
    form.hidden = true;
    onKey();
  });
  button.addEventListener("click", () => (form.hidden ? show() : (form.hidden = true)));
  button.hidden = !key.get();
}
