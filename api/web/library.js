// What this browser remembers: the ids of its animations and kept motions (localStorage), and their files (IndexedDB), so
// that picture and video can be shown beside the result after a reload. The service hands out results only.

const LISTS = { anm: "animato.animations", mot: "animato.motions" };
const MOST = 60;
const FILES_MAX_BYTES = 300e6;

const kindOf = (id) => id.slice(0, 3);

/** Entries `{id, created, title, thumb}`, the newest first; of animations (`anm`) or of kept motions (`mot`). */
export function list(kind = "anm") {
  try {
    return JSON.parse(localStorage.getItem(LISTS[kind])) || [];
  } catch {
    return [];
  }
}

function write(kind, entries) {
  try {
    localStorage.setItem(LISTS[kind], JSON.stringify(entries.slice(0, MOST)));
  } catch {
    // Full, or not allowed here: then it is known until the page is closed.
  }
}

const others = (id) => list(kindOf(id)).filter((one) => one.id !== id);

export function remember(entry) {
  write(kindOf(entry.id), [entry, ...others(entry.id)]);
}

export async function forget(id) {
  write(kindOf(id), others(id));
  await within("readwrite", (files) => files.delete(id));
}

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("animato", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("files");
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Run `work(store)`; its result, or null where the browser keeps no files (a private window, a full disk). */
async function within(mode, work) {
  let database;
  try {
    database = await open();
    const transaction = database.transaction("files", mode);
    const request = work(transaction.objectStore("files"));
    return await new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request.result ?? null);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  } catch {
    return null;
  } finally {
    database?.close();
  }
}

/** Keep picture and video, each of which may be null; the oldest give way when there is too much. */
export async function keepFiles(id, source, driving) {
  await within("readwrite", (files) => files.put({ source, driving }, id));
  let left = FILES_MAX_BYTES;
  const newestFirst = [...list("anm"), ...list("mot")].sort((one, other) => Date.parse(other.created) - Date.parse(one.created));
  const known = newestFirst.map((entry) => entry.id);
  for (const one of known) {
    const kept = await filesOf(one);
    left -= (kept?.source?.size ?? 0) + (kept?.driving?.size ?? 0);
    if (kept && left < 0) await within("readwrite", (files) => files.delete(one));
  }
  const keys = (await within("readonly", (files) => files.getAllKeys())) || [];
  for (const one of keys) if (!known.includes(one)) await within("readwrite", (files) => files.delete(one));
}

/** `{source, driving}` as files or null each, or null. */
export const filesOf = (id) => within("readonly", (files) => files.get(id));

/** A small picture of a picture or a video, as text; empty when this browser cannot draw the file. */
export async function thumbnail(file, sidePx = 160) {
  try {
    const bitmap = file.type.startsWith("video/") ? await firstFrame(file) : await createImageBitmap(file);
    const scale = sidePx / Math.min(bitmap.width, bitmap.height);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = sidePx;
    const [width, height] = [bitmap.width * scale, bitmap.height * scale];
    canvas.getContext("2d").drawImage(bitmap, (sidePx - width) / 2, (sidePx - height) / 2, width, height);
    bitmap.close();
    return canvas.toDataURL("image/jpeg", 0.8);
  } catch {
    return "";
  }
}

async function firstFrame(file) {
  const video = document.createElement("video");
  video.muted = true;
  video.preload = "auto";
  const url = URL.createObjectURL(file);
  try {
    await new Promise((resolve, reject) => {
      video.addEventListener("loadeddata", resolve, { once: true });
      video.addEventListener("error", () => reject(video.error), { once: true });
      video.src = url;
    });
    return await createImageBitmap(video);
  } finally {
    URL.revokeObjectURL(url);
  }
}
