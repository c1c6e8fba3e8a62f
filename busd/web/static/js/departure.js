// One row of a board: what is shown, and what is not, for a departure at this second. Pure rules first, then the row.

import { el, icon, setText } from "./dom.js";
import { clockTime, nameRuns, one, t } from "./i18n.js";
import { ageText, badge } from "./parts.js";

const GONE_S = 60;
const FAR_MIN = 60;
const WIDE_S = 150;
const LATE_S = 120;

/**
 * What a departure shows at server time `now` (s). `expired`: the board's ttl is over, so only the timetable counts
 * (sign protocol 7). Returns null for one that is gone.
 */
export function reading(dep, board, now, expired) {
  const dropped = dep.st === "cancelled" || dep.st === "skipped";
  const live = !expired && !dropped && dep.pred !== null && dep.pred !== undefined && dep.src !== "schedule";
  const at = live ? dep.pred : dep.sched;
  if (at === null || at === undefined) return null;
  if (at < now - GONE_S && !(live && dep.st === "at_stop")) return null;
  const src = live ? dep.src : "schedule";
  const result = { at, live, src, dropped, big: null, unit: null, word: null, state: "plain" };
  if (dropped) {
    result.word = t(dep.st);
    result.state = "dropped";
  } else if (!live) {
    result.big = clockTime(at);
    result.state = "schedule";
  } else {
    const minutes = Math.floor((at - now) / 60);
    if (dep.st === "at_stop" || dep.st === "arriving" || minutes <= 0) {
      result.word = t(dep.st === "ok" ? "due" : dep.st);
      result.state = "due";
    } else if (minutes >= FAR_MIN) {
      result.big = clockTime(at);
    } else {
      result.big = String(minutes);
      result.unit = t("minutes_unit");
      result.minutes = minutes;
    }
    if (src === "frozen") result.state = "frozen";
  }
  return result;
}

/** Words below the destination, most useful first. */
export function remarks(dep, board, now, shown) {
  const words = [];
  if (shown.dropped) {
    words.push(t("planned", { time: clockTime(shown.at) }));
    return words;
  }
  if (shown.live) {
    if (Number.isInteger(dep.away) && dep.st !== "at_stop") {
      words.push(dep.away > 0 ? t("away", { n: dep.away }) : t("next_stop"));
    }
    if (shown.minutes !== undefined && Number.isFinite(dep.lo) && Number.isFinite(dep.hi) && dep.hi - dep.lo >= WIDE_S) {
      const low = Math.max(0, Math.floor((dep.lo - now) / 60));
      const high = Math.ceil((dep.hi - now) / 60);
      if (high > low) words.push(t("range", { a: low, b: high }));
    }
    if (Number.isFinite(dep.sched)) {
      const late = dep.pred - dep.sched;
      if (late >= LATE_S) words.push(t("late", { n: Math.floor(late / 60) }));
      else if (-late >= LATE_S) words.push(t("early", { n: Math.floor(-late / 60) }));
    }
    if (dep.occ) words.push(t(`occ_${dep.occ}`));
  }
  return words;
}

/** A row that is made once per departure and then only touched where it changed. */
export class DepartureRow {
  constructor(line) {
    this.big = el("span", { class: "time-big" });
    this.unit = el("span", { class: "time-unit" });
    this.spoken = el("span", { class: "visually-hidden" });
    this.heads = el("span", { class: "dep-head" });
    this.source = el("span", { class: "tag" });
    this.age = el("span", { class: "age" });
    this.words = el("span", { class: "words" });
    this.flag = el("span", { class: "tag tag-flag", hidden: true });
    this.wheelchair = el("span", { class: "wheelchair", hidden: true, role: "img" }, icon("wheelchair"));
    this.node = el(
      "li",
      { class: "dep" },
      badge(line),
      el(
        "span",
        { class: "dep-main" },
        this.heads,
        el("span", { class: "dep-meta" }, this.source, this.flag, this.wheelchair, this.words, this.age),
      ),
      el("span", { class: "time" }, el("span", { class: "time-shown", "aria-hidden": "true" }, this.big, this.unit), this.spoken),
    );
    this.headText = null;
  }

  /** Returns the sentence for a screen reader, or null when the departure is gone (and the row hidden). */
  update(dep, board, now, expired) {
    const shown = reading(dep, board, now, expired);
    this.node.hidden = shown === null;
    if (shown === null) return null;
    this.node.dataset.state = shown.state;
    this.node.dataset.src = shown.src;
    this.node.dataset.key = dep.key;
    const headText = JSON.stringify(dep.head);
    if (headText !== this.headText) {
      this.heads.replaceChildren(...nameRuns(dep.head, "name", "name-second").filter(Boolean));
      this.headText = headText;
    }
    setText(this.big, shown.word ?? shown.big);
    this.big.classList.toggle("is-word", shown.word !== null);
    this.big.classList.toggle("is-clock", shown.word === null && shown.unit === null);
    setText(this.unit, shown.unit ?? "");
    const spoken = shown.minutes !== undefined ? t("minutes_spoken", { n: shown.minutes }) : (shown.word ?? shown.big);
    setText(this.spoken, spoken);
    setText(this.source, t(`src_${shown.src}`));
    this.source.className = `tag tag-${shown.src}`;
    // Spaces inside a remark do not break, so that lines end between remarks.
    setText(this.words, remarks(dep, board, now, shown).map((words) => words.replaceAll(" ", "\u00a0").replaceAll("–", "\u2060–\u2060")).join(" · "));
    const age = shown.live && Number.isFinite(dep.age) ? dep.age + Math.max(0, now - board.at / 1000) : null;
    setText(this.age, age === null ? "" : ageText(age));
    const flag = dep.last ? "last_bus" : dep.first ? "first_bus" : null;
    this.flag.hidden = flag === null;
    if (flag) setText(this.flag, t(flag));
    this.wheelchair.hidden = dep.wc !== true;
    if (dep.wc === true) this.wheelchair.setAttribute("aria-label", t("wheelchair"));
    return `${dep.line}, ${one(dep.head)}, ${spoken}`;
  }
}
