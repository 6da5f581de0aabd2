// Records the driver with the camera of this device.

import { clock } from "./words.js";

const TYPES = ["video/webm;codecs=vp9,opus", "video/webm;codecs=vp8,opus", "video/webm", "video/mp4"];
const REASONS = {
  NotAllowedError: "The browser was not allowed to use the camera.",
  NotFoundError: "There is no camera.",
  NotReadableError: "The camera is used by another program.",
};

export const canRecord = () => Boolean(navigator.mediaDevices?.getUserMedia && window.MediaRecorder);

/** `open(longestS)` shows the dialog; `onFile(file)` when a recording is to be used. */
export function createRecorder(dialog, { onFile }) {
  const video = dialog.querySelector("video");
  const status = dialog.querySelector("[role=status]");
  const buttons = Object.fromEntries([...dialog.querySelectorAll("[data-do]")].map((one) => [one.dataset.do, one]));
  let stream = null;
  let recorder = null;
  let recording = null;
  let ticking = 0;
  let longestS = 60;

  const only = (...names) => {
    for (const [name, button] of Object.entries(buttons)) button.hidden = name !== "close" && !names.includes(name);
    if (names.length) buttons[names[0]].focus();
  };

  async function camera() {
    video.classList.add("mirrored");
    try {
      const wanted = { facingMode: "user", width: { ideal: 640 }, height: { ideal: 640 } };
      stream = await navigator.mediaDevices
        .getUserMedia({ video: wanted, audio: true })
        .catch(() => navigator.mediaDevices.getUserMedia({ video: wanted }));
    } catch (error) {
      only();
      status.textContent = REASONS[error.name] || `The camera cannot be used (${error.name}).`;
      return;
    }
    if (!dialog.open) return release();
    video.srcObject = stream;
    video.muted = true;
    await video.play().catch(() => {});
    status.textContent = `Look ahead, rest your face for a moment, then move. Up to ${Math.round(longestS)} s.`;
    only("record");
  }

  function release() {
    clearInterval(ticking);
    if (recorder?.state === "recording") recorder.stop();
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = recorder = video.srcObject = null;
  }

  function record() {
    const pieces = [];
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    recorder = new MediaRecorder(stream, { mimeType, videoBitsPerSecond: 2_500_000 });
    const type = (recorder.mimeType || mimeType).split(";")[0];
    recorder.ondataavailable = (event) => pieces.push(event.data);
    recorder.onstop = () => {
      clearInterval(ticking);
      if (!dialog.open) return;
      recording = new File(pieces, `recording.${type.endsWith("mp4") ? "mp4" : "webm"}`, { type });
      release();
      review();
    };
    recorder.start(1000);
    const startedMs = performance.now();
    ticking = setInterval(() => {
      const seconds = (performance.now() - startedMs) / 1000;
      status.textContent = `Recording · ${clock(seconds)}`;
      if (seconds >= longestS - 0.5) stop();
    }, 100);
    only("stop");
  }

  function stop() {
    if (recorder?.state === "recording") recorder.stop();
  }

  function review() {
    video.classList.remove("mirrored");
    video.src = URL.createObjectURL(recording);
    video.loop = true;
    video.play().catch(() => {});
    status.textContent = "Is this the motion you want?";
    only("use", "again");
  }

  function dropRecording() {
    if (video.src) URL.revokeObjectURL(video.src);
    video.removeAttribute("src");
    recording = null;
  }

  buttons.record.addEventListener("click", record);
  buttons.stop.addEventListener("click", stop);
  buttons.again.addEventListener("click", () => { dropRecording(); camera(); });
  buttons.use.addEventListener("click", () => { const file = recording; dialog.close(); onFile(file); });
  buttons.close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => { release(); dropRecording(); });

  return {
    open(limitS) {
      longestS = Math.min(60, limitS);
      only();
      status.textContent = "Asking for the camera …";
      dialog.showModal();
      camera();
    },
  };
}
