// Plays driver and result in step, under one set of controls. The result leads when there is one; sound comes from it.

import { by, calm, setIcon } from "./dom.js";
import { clock } from "./words.js";

const OUT_OF_STEP_S = 0.07;

export function createPlayer(root) {
  const [play, scrub, loop, sound] = ["play", "scrub", "loop", "sound"].map(by);
  let leader = null;
  let follower = null;
  let wantsSound = false;
  let isLooping = true;
  let frame = 0;

  const length = () => (Number.isFinite(leader?.duration) ? leader.duration : 0);

  function show() {
    const seconds = leader?.currentTime ?? 0;
    scrub.max = String(length() || 1);
    scrub.value = String(seconds);
    scrub.style.setProperty("--done", `${(100 * seconds) / (length() || 1)}%`);
    scrub.setAttribute("aria-valuetext", `${seconds.toFixed(1)} of ${length().toFixed(1)} seconds`);
    by("clock").value = `${clock(seconds)} / ${clock(length())}`;
    const isPaused = !leader || leader.paused;
    setIcon(play, isPaused ? "play" : "pause");
    play.setAttribute("aria-label", isPaused ? "Play" : "Pause");
  }

  function inStep(exactly = false) {
    if (!follower || follower.readyState < 1) return;
    const wanted = Math.min(leader.currentTime, Math.max(0, (follower.duration || 0) - 0.001));
    const off = Math.abs(follower.currentTime - wanted);
    if (exactly ? off > 0.001 : off > OUT_OF_STEP_S && !follower.seeking) follower.currentTime = wanted;
  }

  function tick() {
    show();
    inStep();
    frame = leader && !leader.paused ? requestAnimationFrame(tick) : 0;
  }

  const start = () => leader?.play().catch(() => show());

  function onPlay() {
    follower?.play().catch(() => {});
    cancelAnimationFrame(frame);
    tick();
  }
  function onPause() {
    follower?.pause();
    inStep(true);
    show();
  }
  function onEnded() {
    if (!isLooping) return;
    leader.currentTime = 0;
    if (follower) follower.currentTime = 0;
    start();
  }
  const listeners = { play: onPlay, pause: onPause, ended: onEnded, loadedmetadata: show, timeupdate: show, seeked: show };

  function lead(video) {
    for (const [name, listener] of Object.entries(listeners)) leader?.removeEventListener(name, listener);
    leader = video;
    for (const [name, listener] of Object.entries(listeners)) leader?.addEventListener(name, listener);
  }

  play.addEventListener("click", () => (leader.paused ? start() : leader.pause()));
  scrub.addEventListener("input", () => {
    leader.currentTime = Number(scrub.value);
    inStep(true);
    show();
  });
  loop.addEventListener("click", () => {
    isLooping = !isLooping;
    loop.setAttribute("aria-pressed", String(isLooping));
  });
  sound.addEventListener("click", () => {
    wantsSound = !wantsSound;
    hear();
  });

  function hear() {
    if (leader) leader.muted = sound.disabled || !wantsSound;
    sound.setAttribute("aria-pressed", String(wantsSound && !sound.disabled));
    setIcon(sound, wantsSound && !sound.disabled ? "sound" : "mute");
  }

  return {
    /** Play `result` with `driving` in step, or `driving` alone; each a video element or null. */
    use({ result, driving, hasSound = false, resume = null }) {
      const at = resume?.at ?? 0;
      leader?.pause();
      follower?.pause();
      follower = result && driving ? driving : null;
      lead(result || driving);
      root.hidden = !leader;
      sound.disabled = !hasSound;
      sound.title = hasSound ? "" : "No sound";
      if (follower) follower.muted = true;
      hear();
      show();
      if (!leader) return;
      const go = () => {
        if (at) leader.currentTime = Math.min(at, length());
        inStep(true);
        // A result starts by itself, quietly, unless somebody prefers calm.
        if (resume ? resume.playing : result && !calm.matches) start();
        else show();
      };
      if (leader.readyState >= 1) go();
      else leader.addEventListener("loadedmetadata", go, { once: true });
    },
    /** Where it stands, to go on there with another video. */
    get standing() {
      return leader ? { at: leader.currentTime, playing: !leader.paused } : null;
    },
    pause: () => leader?.pause(),
    hide() {
      leader?.pause();
      lead(null);
      follower = null;
      root.hidden = true;
    },
  };
}
