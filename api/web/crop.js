// The square that is animated, drawn over a picture: dragged, resized at its corners, or moved with the keyboard.
// All numbers are pixels of the upright picture, as the service takes them.

import { make } from "./dom.js";

const SMALLEST_PX = 16;
const CORNERS = ["nw", "ne", "sw", "se"];

/** A box over `frame`, in which media are shown whole and centred. `onChange([x, y, w, h])` after each change by hand. */
export function createCropBox(frame, { label, onChange, onSubject }) {
  const box = make("div", {
    class: "crop",
    tabindex: "0",
    role: "application",
    "aria-roledescription": "crop square",
    hidden: true,
  });
  for (const corner of CORNERS) box.append(make("span", { class: `corner ${corner}`, "data-corner": corner }));
  const others = make("div", { class: "subjects" });
  let media = { width: 1, height: 1 };
  let zoom = 1; // below 1 the media are shown smaller, so that a square that reaches outside is seen whole
  let square = null; // {x, y, side}
  let drag = null;

  const longer = () => Math.max(media.width, media.height);
  const share = (px) => (100 * zoom * px) / longer();

  function place(element, [x, y, width, height]) {
    element.style.left = `${50 + share(x - media.width / 2)}%`;
    element.style.top = `${50 + share(y - media.height / 2)}%`;
    element.style.width = `${share(width)}%`;
    element.style.height = `${share(height)}%`;
  }

  function zoomTo(value) {
    zoom = value;
    frame.style.setProperty("--zoom", String(zoom));
  }

  /** How far the square or the media reach from the middle, in halves of the longer side. */
  function reach() {
    const { x, y, side } = square;
    const far = (from, whole) => Math.max(whole / 2 - from, from + side - whole / 2);
    return Math.max(1, (2 * Math.max(far(x, media.width), far(y, media.height))) / longer());
  }

  function draw() {
    const { x, y, side } = square;
    place(box, [x, y, side, side]);
    box.setAttribute(
      "aria-label",
      `${label}: ${side} pixels wide, ${x} from the left, ${y} from the top. ` +
        "Arrow keys move it, plus and minus resize it, with Shift in larger steps.",
    );
  }

  /** Some of the picture stays inside, and the square stays within what the service accepts. */
  function limited({ x, y, side }) {
    side = Math.round(Math.min(Math.max(side, Math.min(SMALLEST_PX * 2, longer())), 1.5 * longer()));
    const inside = (value, whole) => Math.round(Math.min(Math.max(value, -side / 2), whole - side / 2));
    return { x: inside(x, media.width), y: inside(y, media.height), side };
  }

  function change(next) {
    next = limited(next);
    if (next.x === square.x && next.y === square.y && next.side === square.side) return;
    square = next;
    draw();
    onChange([square.x, square.y, square.side, square.side]);
  }

  function resized(by) {
    const side = Math.max(SMALLEST_PX, square.side + 2 * by);
    change({ x: square.x - (side - square.side) / 2, y: square.y - (side - square.side) / 2, side });
  }

  box.addEventListener("keydown", (event) => {
    const step = Math.max(1, Math.round(square.side * (event.shiftKey ? 0.1 : 0.01)));
    const { x, y, side } = square;
    const moves = {
      ArrowLeft: () => change({ x: x - step, y, side }),
      ArrowRight: () => change({ x: x + step, y, side }),
      ArrowUp: () => change({ x, y: y - step, side }),
      ArrowDown: () => change({ x, y: y + step, side }),
      "+": () => resized(step),
      "=": () => resized(step),
      "*": () => resized(step),
      "-": () => resized(-step),
      _: () => resized(-step),
    };
    if (!moves[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    moves[event.key]();
  });

  box.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    box.focus({ preventScroll: true });
    box.setPointerCapture(event.pointerId);
    drag = { ...square, corner: event.target.dataset.corner, fromX: event.clientX, fromY: event.clientY };
  });
  box.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const scale = longer() / (frame.clientWidth * zoom);
    const dx = (event.clientX - drag.fromX) * scale;
    const dy = (event.clientY - drag.fromY) * scale;
    if (!drag.corner) return change({ x: drag.x + dx, y: drag.y + dy, side: drag.side });
    const [toNorth, toWest] = [drag.corner[0] === "n", drag.corner[1] === "w"];
    const by = ((toWest ? -dx : dx) + (toNorth ? -dy : dy)) / 2;
    const side = Math.max(2 * SMALLEST_PX, drag.side + by);
    change({
      x: toWest ? drag.x + drag.side - side : drag.x,
      y: toNorth ? drag.y + drag.side - side : drag.y,
      side,
    });
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) box.addEventListener(end, () => { drag = null; });
  frame.append(others, box);

  return {
    /** Show the crop that the service chose or was told; while it is dragged, what the hand does counts. */
    show(width, height, [x, y, w, h], subjects = [], subject = 0) {
      if (drag) return;
      media = { width, height };
      const side = Math.max(w, h);
      square = { x: Math.round(x + (w - side) / 2), y: Math.round(y + (h - side) / 2), side };
      zoomTo(Math.max(0.6, 1 / reach()));
      box.hidden = false;
      draw();
      others.replaceChildren();
      if (subjects.length < 2) return;
      for (const { index, box: found } of subjects) {
        if (index === subject) continue;
        // The same choice is under the picture, for the keyboard.
        const other = make("span", { class: "subject", click: () => onSubject(index) }, make("b", {}, String(index + 1)));
        place(other, found);
        others.append(other);
      }
    },
    hide() {
      zoomTo(1);
      box.hidden = true;
      others.replaceChildren();
    },
    get isShown() {
      return !box.hidden;
    },
  };
}

/** The square that `none` takes: the largest in the middle. */
export function middle(width, height) {
  const side = Math.min(width, height);
  return [Math.floor((width - side) / 2), Math.floor((height - side) / 2), side, side];
}
