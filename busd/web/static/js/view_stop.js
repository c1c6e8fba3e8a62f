// A stop: its board, kept right every second by the server's clock, and its lines.

import { DepartureRow } from "./departure.js";
import { el, icon, setText } from "./dom.js";
import { clockTime, nameRuns, one, t } from "./i18n.js";
import { backLink, badge, empty, lineHref, towards } from "./parts.js";
import { savedStops, toggleSaved } from "./store.js";

const ANNOUNCE_MS = 30_000;
const POLL_MS = 15_000;

export class StopView {
  constructor(app, stopId) {
    this.app = app;
    this.stopId = stopId;
    this.rows = new Map();
    this.fitted = false;
    this.announcedAt = -Infinity;
    this.announced = "";
    this.polledAt = performance.now();
    this.linesText = "";
    this.messagesText = "";
    this.unknown = false;
  }

  mount(panel) {
    const { city, live, map } = this.app;
    const stop = city.stops.get(this.stopId);
    if (!stop) {
      this.unknown = true;
      panel.replaceChildren(
        el("div", { class: "view-head" }, backLink(), el("h1", { class: "view-title", text: t("unknown_stop") })),
      );
      map.showCity();
      return;
    }
    this.status = el("p", { class: "status", role: "status", data: { state: "connecting" } });
    this.messages = el("div", { class: "messages" });
    this.hint = el("p", { class: "hint", hidden: true, text: t("lost_hint") });
    this.list = el("ol", { class: "board", "aria-label": t("departures") });
    this.nothing = el("div", { hidden: true });
    this.lines = el("ul", { class: "lines-here" });
    this.linesTitle = el("h2", { class: "list-title", text: t("lines_here"), hidden: true });
    this.star = el(
      "button",
      { class: "icon-button star", type: "button", on: { click: () => this.save() } },
      icon("star"),
    );
    this.showSaved(savedStops().includes(this.stopId));
    panel.replaceChildren(
      el(
        "div",
        { class: "view-head stop-head" },
        backLink(),
        el(
          "h1",
          { class: "view-title" },
          nameRuns(stop.name, "name", "name-second"),
        ),
        this.star,
      ),
      el(
        "div",
        { class: "stop-sub" },
        this.status,
        towards(stop),
        stop.code && el("span", { class: "stop-code", text: t("stop_code", { code: stop.code }) }),
      ),
      this.messages,
      this.hint,
      this.list,
      this.nothing,
      this.linesTitle,
      this.lines,
      el("p", { class: "zone", text: t("timezone", { zone: this.app.zone }) }),
    );
    this.onBoard = (event) => event.detail === this.stopId && this.draw();
    this.onVehicles = () => this.frame();
    live.addEventListener("board", this.onBoard);
    live.addEventListener("vehicles", this.onVehicles);
    map.showStop(stop);
    live.watch({ stops: [this.stopId], lines: stop.lines.slice(0, 64) });
    this.draw();
  }

  unmount() {
    this.app.live.removeEventListener("board", this.onBoard);
    this.app.live.removeEventListener("vehicles", this.onVehicles);
  }

  save() {
    this.showSaved(toggleSaved(this.stopId));
  }

  showSaved(saved) {
    this.star.setAttribute("aria-pressed", String(saved));
    const label = t(saved ? "unsave" : "save");
    this.star.setAttribute("aria-label", label);
    this.star.title = label;
  }

  /** Once a second, and whenever a board comes. */
  draw() {
    if (this.unknown) return;
    const { clock, live } = this.app;
    const held = live.boards.get(this.stopId);
    const now = clock.now();
    const expired = held !== undefined && now > held.freshUntil;
    this.drawStatus(held, expired);
    this.pollIfCut();
    if (!held) {
      this.drawNothing(live.state === "lost" ? t("lost_short") : t("waiting"));
      return;
    }
    const { board } = held;
    this.hint.hidden = !expired;
    const sentences = [];
    const wanted = new Set();
    const ordered = expired ? [...board.deps].sort((a, b) => (a.sched ?? Infinity) - (b.sched ?? Infinity)) : board.deps;
    const nodes = [];
    for (const dep of ordered) {
      let row = this.rows.get(dep.key);
      if (!row) {
        row = new DepartureRow(this.lineOf(dep.line, board));
        this.rows.set(dep.key, row);
      }
      wanted.add(dep.key);
      nodes.push(row.node);
      const sentence = row.update(dep, board, now, expired);
      if (sentence !== null) sentences.push(sentence);
    }
    for (const key of this.rows.keys()) if (!wanted.has(key)) this.rows.delete(key);
    if (nodes.length !== this.list.children.length || nodes.some((node, i) => this.list.children[i] !== node)) {
      this.list.replaceChildren(...nodes);
    }
    if (sentences.length === 0) this.drawNothing(t("no_departures"), t("no_departures_hint"));
    else this.nothing.hidden = true;
    this.drawLines(board, now);
    this.drawMessages(board, now);
    this.announce(sentences);
    this.app.map.buses.emphasise(new Set(board.deps.map(({ veh }) => veh).filter(Boolean)));
    this.frame();
  }

  lineOf(shortName, board) {
    const known = this.app.city.lineNamed(shortName, this.stopId);
    const color = board.lines.find(({ line }) => line === shortName)?.color;
    return known ?? { line: shortName, color };
  }

  drawNothing(text, hint = null) {
    this.nothing.hidden = false;
    const words = `${text}\n${hint}`;
    if (this.nothing.dataset.words !== words) {
      this.nothing.dataset.words = words;
      this.nothing.replaceChildren(empty(text, hint));
    }
  }

  drawStatus(held, expired) {
    const { live, clock } = this.app;
    let [state, text] = ["live", t("live")];
    // What is shown was true at the last message about it, whatever the age of its content.
    const asOf = held && clockTime(Math.min(held.freshUntil - held.board.ttl, clock.now()));
    if (expired) [state, text] = ["lost", t("lost", { time: asOf })];
    else if (live.state !== "open" && held) [state, text] = ["warn", t("reconnecting", { time: asOf })];
    else if (live.state === "lost") [state, text] = ["lost", t("lost_short")];
    else if (!held) [state, text] = ["connecting", t("connecting")];
    else if (held.board.state === "degraded") [state, text] = ["warn", t("degraded")];
    else if (held.board.state === "schedule") [state, text] = ["warn", t("schedule_only")];
    this.status.dataset.state = state;
    setText(this.status, text);
  }

  pollIfCut() {
    const { live } = this.app;
    const now = performance.now();
    if (live.state === "open" || now - this.polledAt < POLL_MS) return;
    this.polledAt = now;
    live.poll(this.stopId).catch(() => {
      // still no connection; the status line says so
    });
  }

  drawLines(board, now) {
    const key = JSON.stringify([board.lines, Math.floor(now / 60)]);
    if (key === this.linesText) return;
    this.linesText = key;
    this.linesTitle.hidden = board.lines.length === 0;
    this.lines.replaceChildren(
      ...board.lines.map((entry) => {
        const line = this.lineOf(entry.line, board);
        const words = [];
        if (entry.status && entry.status !== "normal") words.push(t(`status_${entry.status}`));
        if (Number.isFinite(entry.first) && Number.isFinite(entry.last)) {
          words.push(t("first_last", { first: clockTime(entry.first), last: clockTime(entry.last) }));
        }
        if (Number.isFinite(entry.next)) words.push(t("next_day", { time: clockTime(entry.next) }));
        if (Array.isArray(entry.headway)) {
          words.push(t("headway", { a: Math.round(entry.headway[0] / 60), b: Math.ceil(entry.headway[1] / 60) }));
        }
        if (Number.isFinite(entry.passed) && now - entry.passed < 1800) {
          const n = Math.floor((now - entry.passed) / 60);
          words.push(n > 0 ? t("passed", { n }) : t("passed_now"));
        }
        const content = [
          badge(line),
          el(
            "span",
            { class: "line-item-name" },
            el("span", { class: "dep-head" }, nameRuns(entry.head, "name", "name-second")),
            el("span", { class: "dep-meta", text: words.join(" · ") }),
          ),
        ];
        return el(
          "li",
          {},
          line.id
            ? el("a", { class: "line-item", href: lineHref(line.id) }, content, icon("next"))
            : el("span", { class: "line-item" }, content),
        );
      }),
    );
  }

  drawMessages(board, now) {
    const messages = board.msgs.filter(({ until }) => !Number.isFinite(until) || until > now);
    const key = JSON.stringify(messages);
    if (key === this.messagesText) return;
    this.messagesText = key;
    this.messages.replaceChildren(
      ...messages.map(({ prio, text }) =>
        el("p", { class: "message", data: { prio: String(prio) } }, nameRuns(text, "message-first", "message-second")),
      ),
    );
  }

  announce(sentences) {
    const words = sentences.slice(0, 2).join("; ");
    const now = performance.now();
    if (words === this.announced || now - this.announcedAt < ANNOUNCE_MS) return;
    this.announced = words;
    this.announcedAt = now;
    this.app.announce(`${one(this.app.city.stops.get(this.stopId).name)}: ${words}`);
  }

  /** Shows the stop together with the buses that come next, once; after that the map is the rider's. */
  frame() {
    if (this.fitted) return;
    const { live, map } = this.app;
    const deps = live.boards.get(this.stopId)?.board.deps ?? [];
    const coming = deps.map(({ veh }) => live.vehicles.get(veh)).filter(Boolean);
    if (coming.length === 0) return;
    this.fitted = true;
    map.fitStopAnd(coming.slice(0, 3));
  }
}
