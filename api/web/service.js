// Speaks with the service. Every failure is a Problem, also a lost connection.

const KEY = "animato.key";

export class Problem extends Error {
  constructor(facts, status = 0, retryAfterS = null) {
    super(facts.detail || facts.title);
    this.status = facts.status ?? status;
    this.title = facts.title || "Something went wrong";
    this.detail = facts.detail || "";
    this.hint = facts.hint || "";
    this.code = facts.code || "";
    this.field = facts.field || "";
    this.fields = facts.errors || [];
    this.requestId = facts.request_id || "";
    this.retryAfterS = retryAfterS;
  }

  get isConnection() {
    return this.code === "no_connection";
  }
}

const noConnection = () =>
  new Problem({
    code: "no_connection",
    title: "No connection to the service",
    detail: "The service did not answer.",
    hint: "Is it still running, and is this device online? Nothing is lost: try again.",
  });

/** A path of the service, relative to the page, so that a proxy may have a path of its own in front. */
export const at = (path) => new URL(path, document.baseURI).href;

export const key = {
  get: () => sessionStorage.getItem(KEY) || "",
  set: (text) => (text ? sessionStorage.setItem(KEY, text) : sessionStorage.removeItem(KEY)),
};

export const headers = (more = {}) => (key.get() ? { Authorization: `Bearer ${key.get()}`, ...more } : more);

/** Random enough, also where the page came over plain HTTP and `randomUUID` does not exist. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function problemOf(status, text, retryAfter) {
  let facts = {};
  try {
    facts = JSON.parse(text);
  } catch {
    // Not from the service itself: a proxy in front of it.
    facts = { title: `The service answered ${status}`, detail: "The answer came from something in front of the service." };
  }
  const problem = new Problem(facts, status, Number.parseInt(retryAfter, 10) || null);
  if (problem.status === 401) window.dispatchEvent(new CustomEvent("key-needed", { detail: problem }));
  return problem;
}

/** The answer to a request. Raises Problem; AbortError when `signal` says so. */
export async function ask(url, { method = "GET", body, signal, more, cache } = {}) {
  let answer;
  try {
    answer = await fetch(url, { method, body, signal, cache, headers: headers(more), credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw noConnection();
  }
  if (answer.ok) return answer;
  throw problemOf(answer.status, await answer.text().catch(() => ""), answer.headers.get("Retry-After"));
}

export const read = async (url, options) => (await ask(url, options)).json();

/** Post a form and tell how much of it is sent; only XMLHttpRequest knows that. Raises like `ask`. */
export function send(url, form, { onProgress, signal, more }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", url);
    for (const [name, value] of Object.entries(headers(more))) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onProgress(event.loaded, event.total);
    request.onload = () => {
      if (request.status < 300) resolve(JSON.parse(request.responseText));
      else reject(problemOf(request.status, request.responseText, request.getResponseHeader("Retry-After")));
    };
    request.onerror = () => reject(noConnection());
    request.onabort = () => reject(new DOMException("The upload was canceled.", "AbortError"));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(form);
  });
}

/** Where a video element can load a result: it sends no key, so the link is a signed one, on this very origin. */
export function signed(path, link) {
  const url = new URL(path, location.origin);
  if (link) url.search = new URL(link, document.baseURI).search;
  return url.href;
}
