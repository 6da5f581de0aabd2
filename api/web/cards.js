// Cards of things that were made: a picture, a title, a line about it, and a way to delete it.

import { icon, make } from "./dom.js";

/** One card of the list; `blank` is an icon where there is no `thumb`; `onOpen` null when there is nothing to open. */
export function makeCard({ id, status, thumb, blank, title, line, isOpen, onOpen, onDelete }) {
  const picture = thumb ? make("img", { src: thumb, alt: "" }) : make("span", { class: "blank", "aria-hidden": "true" }, blank && icon(blank));
  return make(
    "li",
    { "data-id": id, "data-status": status },
    make(
      "button",
      { type: "button", class: "open", "aria-current": isOpen && "true", disabled: !onOpen, click: onOpen ?? undefined },
      picture,
      make("span", { class: "title" }, title),
      make("span", { class: "subtle" }, line),
    ),
    make("button", { type: "button", class: "remove", "aria-label": `Delete ${title}`, click: onDelete }, "×"),
  );
}

/** Show `cards` in `list` in place of those that are there. */
export function showCards(list, cards) {
  const focused = document.activeElement?.closest?.("[data-id]");
  const place = focused && list.contains(focused) ? [focused.dataset.id, document.activeElement.className] : null;
  list.replaceChildren(...cards);
  // Drawn anew under the hand of somebody who uses the keyboard: the same button has the focus again.
  if (place) list.querySelector(`[data-id="${place[0]}"] .${place[1]}`)?.focus();
}
