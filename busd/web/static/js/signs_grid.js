// All signs as a grid that only builds what is in view: ten thousand signs cost as much as thirty.

import { el } from "./dom.js";
import { t } from "./i18n.js";
import { Card } from "./signs_card.js";

const CARD_PX = 300;
const GAP_PX = 12;
const ROW_PX = 232;
const MAX_ROWS = 120;

export class Grid {
  constructor(onView, onOpen) {
    this.onView = onView;
    this.onOpen = onOpen;
    this.canvas = el("div", { class: "grid-canvas", role: "list" });
    this.empty = el("p", { class: "grid-empty", hidden: true });
    this.node = el("div", { class: "grid", tabindex: "-1" }, this.canvas, this.empty);
    this.cards = new Map();
    this.rows = new Map();
    this.total = 0;
    this.columns = 1;
    this.last = "";
    this.node.addEventListener("scroll", () => this.look(), { passive: true });
    this.observer = new ResizeObserver(() => this.measure());
    this.observer.observe(this.node);
  }

  /** Another choice: from the top. */
  reset() {
    this.node.scrollTop = 0;
    this.last = "";
    this.look();
  }

  measure() {
    const width = this.node.clientWidth - 2 * GAP_PX;
    this.columns = Math.max(1, Math.floor((width + GAP_PX) / (CARD_PX + GAP_PX)));
    this.width = (width - GAP_PX * (this.columns - 1)) / this.columns;
    this.canvas.style.setProperty("--card-px", String(this.width));
    this.place();
    this.look();
  }

  look() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      const first = Math.max(0, Math.floor(this.node.scrollTop / ROW_PX) - 1);
      const count = Math.ceil(this.node.clientHeight / ROW_PX) + 3;
      const offset = first * this.columns;
      const limit = Math.min(MAX_ROWS, count * this.columns);
      const mark = `${offset} ${limit}`;
      if (mark === this.last || this.node.clientHeight === 0) return;
      this.last = mark;
      this.onView(offset, limit);
    });
  }

  update(page) {
    this.total = page.total;
    this.offset = page.offset;
    this.signs = page.signs;
    for (const [sign, row] of Object.entries(page.rows)) {
      this.rows.set(sign, row);
      this.cards.get(sign)?.update(row);
    }
    const wanted = new Set(page.signs);
    for (const sign of this.rows.keys()) if (!wanted.has(sign)) this.rows.delete(sign);
    this.place();
  }

  place() {
    if (!this.signs) return;
    this.canvas.style.height = `${Math.ceil(this.total / this.columns) * ROW_PX}px`;
    this.empty.hidden = this.total > 0;
    if (this.total === 0) this.empty.textContent = t("no_signs");
    const wanted = new Set(this.signs);
    for (const [sign, card] of this.cards) {
      if (!wanted.has(sign)) {
        card.node.remove();
        this.cards.delete(sign);
      }
    }
    this.signs.forEach((sign, i) => {
      const row = this.rows.get(sign);
      if (!row) return;
      let card = this.cards.get(sign);
      if (!card) {
        card = new Card(this.onOpen);
        card.update(row);
        this.cards.set(sign, card);
        this.canvas.append(card.node);
      }
      const place = this.offset + i;
      const x = (place % this.columns) * (this.width + GAP_PX);
      card.node.style.transform = `translate(${x}px, ${Math.floor(place / this.columns) * ROW_PX}px)`;
      card.node.style.order = String(place);
    });
  }

  /** The words change with the language. */
  translate() {
    for (const [sign, card] of this.cards) card.update(this.rows.get(sign));
  }

  tick(now) {
    for (const card of this.cards.values()) card.tick(now);
  }
}
