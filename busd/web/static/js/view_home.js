// Finding a stop: by name, near me, among the saved ones, or by line.

import { el, icon, setText } from "./dom.js";
import { t } from "./i18n.js";
import { backLink, badge, empty, ends, lineHref, stopItem } from "./parts.js";
import { savedStops } from "./store.js";

const MAIN_STOPS = 12;
const TYPING_MS = 180;

export class HomeView {
  constructor(app) {
    this.app = app;
    this.query = "";
    this.turn = 0;
    this.timer = null;
  }

  mount(panel) {
    const { city } = this.app;
    this.count = el("p", { class: "visually-hidden", role: "status" });
    this.list = el("div", { class: "home-lists" });
    this.input = el("input", {
      id: "search",
      type: "search",
      autocomplete: "off",
      spellcheck: "false",
      enterkeyhint: "search",
      maxlength: "100",
      placeholder: t("find_hint"),
      "aria-describedby": "search-count",
      on: { input: () => this.typed(), keydown: (event) => this.keyed(event) },
    });
    this.count.id = "search-count";
    panel.replaceChildren(
      el(
        "div",
        { class: "home-head" },
        el("h1", { class: "visually-hidden", text: t("find") }),
        el(
          "div",
          { class: "search", role: "search" },
          el("label", { for: "search", class: "search-label", "aria-label": t("find") }, icon("search")),
          this.input,
        ),
        el(
          "div",
          { class: "actions" },
          el("button", { class: "action", type: "button", on: { click: () => this.locate() } }, icon("near"), t("near")),
          el("a", { class: "action", href: "#/lines" }, icon("lines"), t("lines")),
        ),
        this.count,
      ),
      this.list,
    );
    this.showStart(city);
    this.input.value = this.query;
    if (this.query) this.typed();
    this.app.map.showCity();
  }

  unmount() {
    clearTimeout(this.timer);
    this.turn += 1;
  }

  showStart(city) {
    const saved = savedStops().map((id) => city.stops.get(id)).filter(Boolean);
    const main = [...city.stops.values()]
      .filter((stop) => stop.lines.length > 0)
      .sort((a, b) => b.lines.length - a.lines.length)
      .slice(0, MAIN_STOPS);
    this.list.replaceChildren(
      ...[
        saved.length > 0 && this.section("saved", saved),
        main.length > 0 && this.section("main_stops", main),
      ].filter(Boolean),
    );
    setText(this.count, "");
  }

  section(title, stops) {
    const id = `list-${title}`;
    return el(
      "section",
      { "aria-labelledby": id },
      el("h2", { id, class: "list-title", text: t(title) }),
      el("ul", { class: "stops" }, stops.map((stop) => stopItem(stop, this.app.city))),
    );
  }

  typed() {
    this.query = this.input.value.trim();
    clearTimeout(this.timer);
    this.turn += 1;
    if (this.query === "") this.showStart(this.app.city);
    else this.timer = setTimeout(() => this.search(this.query, this.turn), TYPING_MS);
  }

  async search(query, turn) {
    await this.show(turn, () => this.app.city.search(query), t("no_results", { q: query }));
  }

  async show(turn, ask, nothing) {
    let stops;
    try {
      stops = await ask();
    } catch {
      if (turn === this.turn) this.list.replaceChildren(empty(t("load_failed")));
      return;
    }
    if (turn !== this.turn) return;
    setText(this.count, stops.length > 0 ? t("results", { n: stops.length }) : nothing);
    this.list.replaceChildren(
      stops.length > 0
        ? el("ul", { class: "stops", id: "results" }, stops.map((stop) => stopItem(stop, this.app.city)))
        : empty(nothing),
    );
  }

  keyed(event) {
    const first = this.list.querySelector("a");
    if (event.key === "ArrowDown" && first) {
      event.preventDefault();
      first.focus();
    } else if (event.key === "Enter" && this.query !== "") {
      clearTimeout(this.timer);
      this.turn += 1;
      const turn = this.turn;
      this.search(this.query, turn).then(() => turn === this.turn && this.list.querySelector("a")?.click());
    }
  }

  locate() {
    this.turn += 1;
    const turn = this.turn;
    this.list.replaceChildren(empty(t("locating")));
    const fail = () => turn === this.turn && this.list.replaceChildren(empty(t("no_location")));
    if (!navigator.geolocation) {
      fail();
      return;
    }
    navigator.geolocation.getCurrentPosition(
      ({ coords }) => {
        if (turn !== this.turn) return;
        this.app.map.showHere(coords.latitude, coords.longitude, coords.accuracy);
        this.show(turn, () => this.app.city.near(coords.latitude, coords.longitude), t("no_results", { q: "" }));
      },
      fail,
      { timeout: 10_000, maximumAge: 60_000, enableHighAccuracy: true },
    );
  }
}

export class LinesView {
  constructor(app) {
    this.app = app;
  }

  mount(panel) {
    const lines = [...this.app.city.lines.values()];
    panel.replaceChildren(
      el("div", { class: "view-head" }, backLink(), el("h1", { class: "view-title", text: t("lines") })),
      el(
        "ul",
        { class: "lines" },
        lines.map((line) =>
          el(
            "li",
            {},
            el(
              "a",
              { class: "line-item", href: lineHref(line.id) },
              badge(line),
              el("span", { class: "line-item-name", dir: "auto", text: ends(line) }),
              icon("next"),
            ),
          ),
        ),
      ),
    );
    this.app.map.showCity();
  }

  unmount() {}
}
