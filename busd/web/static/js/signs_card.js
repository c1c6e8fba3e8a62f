// One sign: its panel as it is now, its state, and what its life is like.

import { el, setText } from "./dom.js";
import { one, t } from "./i18n.js";

// A sign tells what it shows every minute or two; only a longer silence means something.
const ACKS_S = 300;

/** A panel of character cells. Every run of letters keeps its columns, whatever fonts the reader has. */
export class PanelView {
  constructor() {
    this.node = el("div", { class: "led", "aria-hidden": "true" });
    this.pages = [];
    this.drawn = "";
  }

  update(row) {
    this.pages = (row.boards ?? []).flatMap((board) => board.pages);
    this.cols = row.cols ?? 32;
    this.rows = row.rows ?? 4;
    this.node.style.setProperty("--cols", this.cols);
    this.node.style.setProperty("--rows", this.rows);
    this.node.classList.toggle("is-dark", row.mode === "off" || this.pages.length === 0);
    this.empty = this.pages.length === 0 ? (row.state === "unseen" ? t("never") : t("nothing_shown")) : "";
    this.drawn = "";
  }

  /** Turns the pages by the clock, as the sign does. */
  tick(now) {
    if (this.pages.length === 0) return this.draw([[[[this.empty, this.cols]], false, false]], this.empty);
    const total = this.pages.reduce((sum, page) => sum + page.seconds, 0);
    let rest = now % total;
    let page = this.pages[0];
    for (page of this.pages) {
      if (rest < page.seconds) break;
      rest -= page.seconds;
    }
    return this.draw(page.lines, JSON.stringify(page.lines));
  }

  draw(lines, mark) {
    if (mark === this.drawn) return;
    this.drawn = mark;
    this.node.replaceChildren(
      ...lines.map(([runs, live, struck]) =>
        el(
          "div",
          { class: `led-line${live ? " is-live" : ""}${struck ? " is-struck" : ""}` },
          runs.map(([text, columns]) => {
            const wide = columns === 2 * [...text].length;
            const run = el("span", { class: wide ? "led-run is-wide" : "led-run", text });
            run.style.width = `${columns}ch`;
            return run;
          }),
        ),
      ),
    );
  }
}

/** "3 min", for how long something has lasted. */
export function lasted(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return t("dur_s", { n: s });
  if (s < 5_400) return t("dur_min", { n: Math.round(s / 60) });
  if (s < 129_600) return t("dur_h", { n: Math.round(s / 3_600) });
  return t("dur_d", { n: Math.round(s / 86_400) });
}

export function signName(row) {
  return row.name || (row.boards ?? []).map((board) => one(board.name)).filter(Boolean).join(" / ") || (row.stops ?? []).join(", ");
}

/** When something was last heard of it, in words. */
export function seenText(row, now) {
  if (row.connected_at) return t("heard", { ago: lasted(now - (row.heard_at ?? row.connected_at)) });
  const at = Math.max(row.heard_at ?? 0, row.closed_at ?? 0);
  return at ? t("last_seen", { ago: lasted(now - at) }) : t("never_seen");
}

export class Card {
  constructor(open) {
    this.panel = new PanelView();
    this.dot = el("span", { class: "state-dot" });
    this.id = el("span", { class: "sign-id" });
    this.state = el("span", { class: "state-word" });
    this.name = el("span", { class: "sign-name", dir: "auto" });
    this.mode = el("span", { class: "tag tag-mode", hidden: true });
    this.behind = el("span", { class: "tag tag-behind", hidden: true });
    this.seen = el("span");
    this.facts = el("span", { class: "sign-facts" });
    this.node = el(
      "button",
      { class: "sign", type: "button", on: { click: () => open(this.row.sign) } },
      el("span", { class: "sign-head" }, this.dot, this.id, this.state),
      el("span", { class: "sign-sub" }, this.name, this.mode, this.behind),
      this.panel.node,
      el("span", { class: "sign-foot" }, this.seen, this.facts),
    );
  }

  update(row) {
    this.row = row;
    this.node.dataset.state = row.state;
    this.node.dataset.sign = row.sign;
    setText(this.id, row.sign);
    setText(this.state, t(`state_${row.state}`));
    setText(this.name, signName(row));
    this.mode.hidden = row.mode === "auto" || !row.mode;
    if (!this.mode.hidden) setText(this.mode, t(`mode_${row.mode}`));
    setText(this.behind, t("not_confirmed"));
    const facts = [];
    if (row.glass?.p95) facts.push(t("glass", { s: row.glass.p95 < 10 ? row.glass.p95.toFixed(1) : Math.round(row.glass.p95) }));
    if (row.tele?.volt) facts.push(`${row.tele.volt.toFixed(1)} V`);
    if (row.tele?.rssi) facts.push(`${Math.round(row.tele.rssi)} dBm`);
    setText(this.facts, facts.join(" · "));
    this.panel.update(row);
  }

  tick(now) {
    const { boards = [], connected_at: connected, shown_at: shown } = this.row;
    const lags = connected && shown && now - shown > ACKS_S && boards.some((board) => !board.shown);
    this.behind.hidden = !lags;
    setText(this.seen, seenText(this.row, now));
    this.panel.tick(now);
  }
}
