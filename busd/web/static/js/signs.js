// The operators' page: every sign of the city as it is now, and the hand on all of them.

import { ServerClock } from "./clock.js";
import { el, setIcon, setText } from "./dom.js";
import { LANGUAGES, language, setLanguage, setTimeZone, t, useWords } from "./i18n.js";
import { Drawer } from "./signs_drawer.js";
import { Feed } from "./signs_feed.js";
import { Grid } from "./signs_grid.js";
import { readWord, writeWord } from "./store.js";

const $ = (id) => document.getElementById(id);
const STATES = ["online", "late", "fallback", "low_battery", "clock_bad", "panel_error", "offline", "unseen"];
const TYPING_MS = 250;

class App {
  constructor() {
    this.clock = new ServerClock();
    this.feed = new Feed(this.clock);
    this.choice = { q: "", state: "", group: "", alarmed: false, sort: "sign" };
    this.counts = {};
    this.groups = {};
    this.alarmCount = 0;
    this.live = false;
  }

  async start() {
    useWords("signs", ["zh-Hans", "en"]);
    await setLanguage();
    this.drawer = new Drawer($("drawer"), this);
    this.drawBar();
    this.feed.addEventListener("hello", ({ detail }) => setTimeZone(detail.timezone));
    this.feed.addEventListener("state", ({ detail }) => {
      this.live = detail.live;
      this.drawFeed();
    });
    this.feed.addEventListener("page", ({ detail }) => this.take(detail));
    if (this.feed.token) {
      try {
        await this.feed.signIn(this.feed.token);
        return this.enter();
      } catch {
        // the token is no longer good: ask
      }
    }
    this.ask();
    return undefined;
  }

  // ---- the door ------------------------------------------------------------------------------------------------

  ask() {
    const field = el("input", { id: "token", type: "password", autocomplete: "current-password", required: true });
    const problem = el("p", { class: "problem", role: "alert", hidden: true });
    const form = el(
      "form",
      { class: "login" },
      el("h1", { text: t("sign_in") }),
      el("p", { class: "hint", text: t("sign_in_hint") }),
      el("label", { for: "token", text: t("token") }),
      field,
      problem,
      el("button", { class: "primary", type: "submit", text: t("sign_in") }),
      el("p", { class: "hint" }, el("code", { text: "busd signs operator add NAME --role dispatcher" })),
    );
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        await this.feed.signIn(field.value.trim());
        this.enter();
      } catch (error) {
        problem.hidden = false;
        setText(problem, error.message === "no_connection" ? t("no_connection") : t("bad_token"));
      }
    });
    $("main").replaceChildren(form);
    field.focus();
  }

  enter() {
    this.grid = new Grid((offset, limit) => this.look(offset, limit), (sign) => this.drawer.openSign(sign));
    this.tools = el("div", { class: "tools" });
    $("main").replaceChildren(this.tools, this.grid.node);
    this.drawBar();
    this.drawTools();
    setInterval(() => {
      const now = this.clock.now();
      this.grid.tick(now);
      this.drawer.tick(now);
    }, 500);
  }

  // ---- choosing ------------------------------------------------------------------------------------------------

  look(offset, limit) {
    this.window = { offset, limit };
    this.feed.show({ ...this.choice, offset, limit });
  }

  choose(change) {
    Object.assign(this.choice, change);
    this.grid.reset();
    this.drawChips();
  }

  take(page) {
    if (!this.grid) return;
    this.counts = page.counts;
    this.alarmCount = page.alarms;
    if (JSON.stringify(page.groups) !== JSON.stringify(this.groups)) {
      this.groups = page.groups;
      this.drawGroups();
    }
    this.grid.update(page);
    this.drawChips();
    this.drawButtons();
    this.drawer.update(this.grid.rows);
    this.grid.tick(this.clock.now());
  }

  drawTools() {
    const search = el("input", { class: "search", type: "search", placeholder: t("find_sign"), "aria-label": t("find_sign"), value: this.choice.q });
    let timer = 0;
    search.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.choose({ q: search.value.trim() }), TYPING_MS);
    });
    this.group = el("select", { "aria-label": t("group"), on: { change: () => this.choose({ group: this.group.value }) } });
    this.sort = el(
      "select",
      { "aria-label": t("sort"), on: { change: () => this.choose({ sort: this.sort.value }) } },
      ["sign", "state", "seen", "glass"].map((sort) => el("option", { value: sort, text: t(`sort_${sort}`), selected: sort === this.choice.sort })),
    );
    this.chips = el("div", { class: "chips", role: "group", "aria-label": t("state") });
    this.tools.replaceChildren(el("div", { class: "tools-row" }, search, this.group, this.sort), this.chips);
    this.chipNodes = null;
    this.drawGroups();
    this.drawChips();
  }

  drawGroups() {
    if (!this.group) return;
    this.group.replaceChildren(
      el("option", { value: "", text: t("all_groups") }),
      ...Object.entries(this.groups).map(([name, n]) => el("option", { value: name, text: `${name} (${n})`, selected: name === this.choice.group })),
    );
  }

  drawChips() {
    if (!this.chipNodes) {
      this.chipNodes = new Map(
        ["", ...STATES].map((state) => {
          const count = el("b", { class: "chip-count" });
          const node = el(
            "button",
            { class: "chip", type: "button", data: { state: state || "all" }, on: { click: () => this.choose({ state: this.choice.state === state ? "" : state }) } },
            state ? el("span", { class: "state-dot" }) : null,
            el("span", { text: t(state ? `state_${state}` : "state_all") }),
            count,
          );
          return [state, { node, count }];
        }),
      );
      this.chips.replaceChildren(...[...this.chipNodes.values()].map(({ node }) => node));
    }
    const total = Object.values(this.counts).reduce((sum, n) => sum + n, 0);
    for (const [state, { node, count }] of this.chipNodes) {
      const n = state ? (this.counts[state] ?? 0) : total;
      setText(count, n.toLocaleString(language));
      node.setAttribute("aria-pressed", String(state === this.choice.state));
      node.classList.toggle("is-none", n === 0 && state !== this.choice.state);
    }
  }

  // ---- the bar -------------------------------------------------------------------------------------------------

  drawBar() {
    document.title = t("title");
    setText($("brand"), t("title"));
    const languages = $("languages");
    languages.setAttribute("aria-label", t("language"));
    languages.replaceChildren(
      ...LANGUAGES.map(({ tag, short, name }) =>
        el("button", { type: "button", lang: tag, title: name, "aria-label": name, "aria-pressed": String(tag === language), text: short, on: { click: () => this.chooseLanguage(tag) } }),
      ),
    );
    this.drawTheme();
    this.drawFeed();
    this.drawButtons();
    const leave = $("leave");
    leave.hidden = !this.grid;
    setIcon(leave, "leave");
    leave.title = t("sign_out");
    leave.setAttribute("aria-label", t("sign_out"));
    leave.onclick = () => this.feed.signOut();
  }

  drawButtons() {
    const alarms = $("alarms");
    alarms.hidden = !this.grid;
    alarms.classList.toggle("is-loud", this.alarmCount > 0);
    setText(alarms, t("alarms_n", { n: this.alarmCount }));
    alarms.onclick = () => this.drawer.openAlarms();
    const orders = $("orders");
    orders.hidden = !this.grid;
    setText(orders, t("orders"));
    orders.onclick = () => this.drawer.openOrders();
  }

  drawFeed() {
    const feed = $("feed");
    feed.dataset.live = String(this.live);
    feed.hidden = !this.grid;
    setText(feed, t(this.live ? "feed_live" : "feed_lost"));
  }

  async chooseLanguage(tag) {
    try {
      await setLanguage(tag, true);
    } catch {
      return;
    }
    this.drawBar();
    if (this.grid) {
      this.drawTools();
      this.grid.translate();
      this.drawer.close();
    } else this.ask();
  }

  drawTheme() {
    const button = $("theme");
    const theme = readWord("theme") ?? "auto";
    setIcon(button, { light: "sun", dark: "moon" }[theme] ?? "auto");
    button.title = t(`theme_${theme}`);
    button.setAttribute("aria-label", button.title);
    button.onclick = () => {
      const next = { auto: "dark", dark: "light", light: "auto" }[theme] ?? "auto";
      writeWord("theme", next === "auto" ? null : next);
      if (next === "auto") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = next;
      this.drawTheme();
    };
  }

  announce(text) {
    setText($("announcer"), text);
  }
}

new App().start();
