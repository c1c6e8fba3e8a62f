// Small pieces that several views share.

import { badgeColours } from "./colour.js";
import { el, icon } from "./dom.js";
import { nameRuns, one, t } from "./i18n.js";

/** The number of a line on its colour. */
export function badge(line, { small = false } = {}) {
  const name = line?.line ?? "";
  const kind = small ? " badge-small" : width(name) > 4 ? " badge-long" : "";
  const node = el("span", { class: `badge${kind}`, dir: "auto", text: name });
  paint(node, line);
  return node;
}

/** Roughly, in digits: a Chinese character is as wide as two. */
function width(text) {
  return [...text].reduce((sum, c) => sum + (c > "\u2e80" ? 2 : 1), 0);
}

export function paint(node, line) {
  const { bg, fg } = badgeColours(line?.color, line?.text_color);
  node.style.setProperty("--badge", bg);
  node.style.setProperty("--badge-text", fg);
}

export function stopHref(id) {
  return `#/stop/${encodeURIComponent(id)}`;
}

export function lineHref(id) {
  return `#/line/${encodeURIComponent(id)}`;
}

export function distance(metres) {
  return metres < 1000
    ? t("metres", { n: Math.round(metres / 10) * 10 })
    : t("kilometres", { n: (metres / 1000).toFixed(metres < 10_000 ? 1 : 0) });
}

/** One stop in a list: names, lines, distance. */
export function stopItem(stop, city) {
  const lines = city.linesOf(stop.id);
  const shown = lines.slice(0, 7);
  return el(
    "li",
    {},
    el(
      "a",
      { class: "stop-item", href: stopHref(stop.id) },
      el(
        "span",
        { class: "stop-item-names" },
        el("span", { class: "dep-head" }, nameRuns(stop.name, "name", "name-second")),
        towards(stop),
        shown.length > 0 &&
          el(
            "span",
            { class: "badges" },
            shown.map((line) => badge(line, { small: true })),
            lines.length > shown.length && el("span", { class: "more", text: `+${lines.length - shown.length}` }),
          ),
      ),
      stop.distance_m !== undefined && el("span", { class: "stop-item-far", text: distance(stop.distance_m) }),
      icon("next"),
    ),
  );
}

/** Where the buses of a stop go: the two sides of a street have one name. */
export function towards(stop) {
  const heads = (stop.heads ?? []).map(one);
  if (heads.length === 0) return null;
  const more = heads.length > 2 ? "…" : "";
  return el("span", { class: "towards", dir: "auto", text: t("towards", { head: heads.slice(0, 2).join(" · ") + more }) });
}

/** Both ends of a line: "A – B" where it has two. */
export function ends(line) {
  return line.heads.slice(0, 2).map(one).join(" ⇄ ");
}

export function backLink(href = "#/") {
  return el("a", { class: "icon-button back", href, "aria-label": t("back"), title: t("back") }, icon("back"));
}

export function empty(text, hint = null) {
  return el("div", { class: "empty" }, el("p", { text }), hint && el("p", { class: "hint", text: hint }));
}

/** Age in words that need not change every second. */
export function ageText(seconds) {
  const s = Math.max(0, Math.round(seconds));
  return s < 60 ? t("age_s", { n: s }) : t("age_min", { n: Math.floor(s / 60) });
}
