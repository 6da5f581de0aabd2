// Numbers as people say them.

export function size(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  if (bytes < 999_500) return `${Math.round(bytes / 1000)} kB`;
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

/** Seconds that something takes: "4 s", "2 min", "1 h 5 min". */
export function span(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 90) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} days`;
}

/** A place in a video: "0:03.4". */
export function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  const rest = (tenths % 600) / 10;
  return `${Math.floor(tenths / 600)}:${rest < 10 ? "0" : ""}${rest.toFixed(1)}`;
}

export function ago(iso) {
  const minutes = (Date.now() - Date.parse(iso)) / 60_000;
  if (!Number.isFinite(minutes)) return "";
  if (minutes < 1.5) return "just now";
  if (minutes < 60) return `${Math.round(minutes)} min ago`;
  if (minutes < 24 * 60) return `${Math.round(minutes / 60)} h ago`;
  return new Date(iso).toLocaleDateString(undefined, { day: "numeric", month: "short" });
}

export function count(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

export const VIEW_NAMES = {
  result: "Result",
  comparison: "Side by side",
  keypoints: "Keypoints",
  flow: "Flow",
  occlusion: "Occlusion",
};

export const STATUS_NAMES = {
  queued: "Waiting",
  processing: "Animating",
  succeeded: "Ready",
  failed: "Failed",
  canceled: "Canceled",
};
