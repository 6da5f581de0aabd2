// Pairs that come with the service, to try at once.

import { make } from "./dom.js";
import { at, ask, read } from "./service.js";

/** `onPair(source, driving, title)` with both files when one is chosen, `onProblem(problem)` when it cannot be loaded. */
export async function showSamples(root, { onPair, onProblem }) {
  let pairs;
  try {
    pairs = (await read(at("samples"))).data;
  } catch {
    return; // a page without samples is a page
  }
  const fileOf = async ({ url, media_type: type }) =>
    new File([await (await ask(url)).blob()], url.split("/").pop(), { type });
  root.querySelector(".pairs").replaceChildren(
    ...pairs.map((pair) => {
      const still = make("video", { src: pair.driving_video.url, preload: "metadata", playsinline: true, "aria-hidden": "true", tabindex: "-1" });
      still.muted = true;
      const choose = async () => {
        button.setAttribute("aria-busy", "true");
        try {
          const [source, driving] = await Promise.all([fileOf(pair.source_image), fileOf(pair.driving_video)]);
          onPair(source, driving, pair.title);
        } catch (problem) {
          onProblem(problem);
        } finally {
          button.removeAttribute("aria-busy");
        }
      };
      const button = make(
        "button",
        { type: "button", click: choose, "data-sample": pair.id },
        make("span", { class: "pair" }, make("img", { src: pair.source_image.url, alt: "", loading: "lazy" }), still),
        make("span", { class: "title" }, pair.title),
      );
      return make("li", {}, button);
    }),
  );
  root.hidden = !pairs.length;
}
