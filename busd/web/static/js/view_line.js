// A line: its stops in order, and between them the buses that are on the way now.

import { el, setText } from "./dom.js";
import { nameRuns, one, t } from "./i18n.js";
import { backLink, badge, empty, ends, paint, stopHref } from "./parts.js";

export class LineView {
  constructor(app, lineId) {
    this.app = app;
    this.lineId = lineId;
    this.line = app.city.lines.get(lineId);
    this.turn = 0;
    this.chosen = 0;
  }

  async mount(panel) {
    const { city, live, map } = this.app;
    if (!this.line) {
      panel.replaceChildren(
        el("div", { class: "view-head" }, backLink("#/lines"), el("h1", { class: "view-title", text: t("unknown_line") })),
      );
      map.showCity();
      return;
    }
    this.tabs = el("div", { class: "segments segments-wide", role: "group", "aria-label": t("stop_list") });
    this.summary = el("p", { class: "line-summary" });
    this.list = el("ol", { class: "diagram", "aria-label": t("stop_list") });
    paint(this.list, this.line);
    panel.replaceChildren(
      el(
        "div",
        { class: "view-head" },
        backLink("#/lines"),
        badge(this.line),
        el("h1", { class: "view-title" }, nameRuns(this.line.name, "name", "name-second")),
      ),
      this.tabs,
      this.summary,
      this.list,
    );
    this.onVehicles = () => this.drawBuses();
    live.addEventListener("vehicles", this.onVehicles);
    map.showLines([this.lineId], true);
    live.watch({ lines: [this.lineId] });
    const turn = (this.turn += 1);
    try {
      const detail = await city.detail(this.lineId);
      if (turn !== this.turn) return;
      this.patterns = mainPatterns(detail.patterns);
      this.shapes = detail.shapes;
      this.drawTabs();
      this.choose(0);
    } catch {
      if (turn === this.turn) this.list.replaceChildren(empty(t("load_failed")));
    }
  }

  unmount() {
    this.turn += 1;
    if (this.onVehicles) this.app.live.removeEventListener("vehicles", this.onVehicles);
  }

  draw() {}

  drawTabs() {
    this.tabs.hidden = this.patterns.length < 2;
    this.tabs.replaceChildren(
      ...this.patterns.map((pattern, i) =>
        el("button", {
          type: "button",
          "aria-pressed": "false",
          dir: "auto",
          text: t("towards", { head: one(pattern.head) }),
          on: { click: () => this.choose(i) },
        }),
      ),
    );
  }

  choose(i) {
    this.chosen = i;
    [...this.tabs.children].forEach((tab, k) => tab.setAttribute("aria-pressed", String(k === i)));
    const pattern = this.patterns[i];
    const { city } = this.app;
    this.buses = new Map();
    this.list.replaceChildren(
      ...pattern.stops.map((id, place) => {
        const buses = el("span", { class: "diagram-buses" });
        if (!this.buses.has(id)) this.buses.set(id, buses);
        const end = place === 0 || place === pattern.stops.length - 1;
        return el(
          "li",
          { class: end ? "diagram-stop is-end" : "diagram-stop" },
          buses,
          el(
            "a",
            { href: stopHref(id) },
            nameRuns(city.stops.get(id)?.name ?? { und: id }, "name", "name-second"),
          ),
        );
      }),
    );
    this.drawBuses();
  }

  drawBuses() {
    if (!this.buses) return;
    const pattern = this.patterns[this.chosen];
    const at = new Map();
    let count = 0;
    for (const vehicle of this.app.live.vehicles.values()) {
      if (vehicle.route !== this.lineId || vehicle.shape !== pattern.shape || !this.buses.has(vehicle.next)) continue;
      at.set(vehicle.next, [...(at.get(vehicle.next) ?? []), vehicle]);
      count += 1;
    }
    for (const [stop, node] of this.buses) {
      const vehicles = at.get(stop) ?? [];
      const ids = vehicles.map(({ id }) => id).join(" ");
      if (node.dataset.ids === ids) continue;
      node.dataset.ids = ids;
      node.replaceChildren(
        ...(vehicles.length > 0
          ? [
              ...vehicles.map(() => el("span", { class: "diagram-bus", "aria-hidden": "true" })),
              el("span", { class: "visually-hidden", text: t("bus_here", { n: vehicles.length }) }),
            ]
          : []),
      );
    }
    setText(
      this.summary,
      [t("stops_count", { n: pattern.stops.length }), t("buses_running", { n: count })].join(" · "),
    );
    this.summary.title = ends(this.line);
  }
}

/** The most used pattern of each direction and destination; short workings of the same shape add nothing here. */
function mainPatterns(patterns) {
  const seen = new Set();
  return patterns
    .filter((pattern) => {
      const key = JSON.stringify([pattern.direction, pattern.head]);
      if (seen.has(key)) return false;
      seen.add(key);
      return true;
    })
    .slice(0, 4);
}
