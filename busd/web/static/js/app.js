// The rider page: starts everything, follows the address, keeps the second.

import { City } from "./city.js";
import { ServerClock } from "./clock.js";
import { el, setIcon, setText } from "./dom.js";
import { LANGUAGES, language, setLanguage, setTimeZone, t } from "./i18n.js";
import { Live } from "./live.js";
import { CityMap } from "./map.js";
import { empty } from "./parts.js";
import { readWord, writeWord } from "./store.js";
import { HomeView, LinesView } from "./view_home.js";
import { LineView } from "./view_line.js";
import { StopView } from "./view_stop.js";

const $ = (id) => document.getElementById(id);

class App {
  constructor() {
    this.clock = new ServerClock();
    this.city = new City();
    this.live = new Live(this.clock);
    this.view = null;
    this.zone = "UTC";
    this.reloading = false;
  }

  async start() {
    await setLanguage();
    this.drawBar();
    await this.loadCity();
    this.map = new CityMap(this, $("map"));
    this.drawBar();
    this.map.start().catch(() => {
      // lists work without the drawing
    });
    addEventListener("hashchange", () => this.follow(true));
    $("skip").addEventListener("click", () => $("panel").focus());
    this.live.addEventListener("state", () => this.view.draw?.());
    this.live.addEventListener("network", (event) => this.networkChanged(event.detail));
    this.follow(false);
    this.live.connect();
    setInterval(() => {
      this.view.draw?.();
      this.map.tick();
    }, 1_000);
  }

  async loadCity() {
    for (let wait = 1_000; ; wait = Math.min(wait * 2, 15_000)) {
      try {
        const config = await this.city.load();
        this.clock.speed = config.speed;
        this.clock.heard(config.now);
        this.zone = setTimeZone(config.timezone);
        return;
      } catch {
        $("panel").replaceChildren(empty(t("load_failed")));
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  /** Another timetable has been loaded: other ids, other names. */
  async networkChanged(digest) {
    if (this.reloading || digest === this.city.config.network) return;
    this.reloading = true;
    await this.loadCity();
    await this.map.start().catch(() => {});
    this.reloading = false;
    this.follow(false);
  }

  follow(moveFocus) {
    const [, kind, id] = location.hash.match(/^#\/(\w*)\/?(.*)$/) ?? [];
    let name = "";
    try {
      name = decodeURIComponent(id ?? "");
    } catch {
      // a broken link: no such stop
    }
    this.view?.unmount();
    if (kind === "stop" && name) this.view = new StopView(this, name);
    else if (kind === "line" && name) this.view = new LineView(this, name);
    else if (kind === "lines") this.view = new LinesView(this);
    else this.view = this.home ??= new HomeView(this);
    const panel = $("panel");
    panel.dataset.view = kind || "home";
    this.view.mount(panel);
    panel.scrollTop = 0;
    const heading = panel.querySelector("h1");
    const title = heading?.querySelector(".name")?.textContent ?? heading?.textContent;
    document.title = kind && title ? `${title} · ${this.name()}` : this.name();
    if (moveFocus) panel.focus({ preventScroll: true });
  }

  name() {
    return this.city.config?.name || t("title");
  }

  announce(text) {
    setText($("announcer"), text);
  }

  drawBar() {
    setText($("brand"), this.name());
    setText($("skip"), t("skip"));
    $("panel").setAttribute("aria-label", t("departures"));
    $("map-frame").setAttribute("aria-label", t("map"));
    const languages = $("languages");
    languages.setAttribute("aria-label", t("language"));
    languages.replaceChildren(
      ...LANGUAGES.map(({ tag, short, name }) =>
        el("button", {
          type: "button",
          lang: tag,
          title: name,
          "aria-label": name,
          "aria-pressed": String(tag === language),
          text: short,
          on: { click: () => this.chooseLanguage(tag) },
        }),
      ),
    );
    const simulated = this.city.config?.simulated === true;
    for (const [id, key] of [["simulated", "simulated"], ["map-note", "simulated_note"]]) {
      $(id).hidden = !simulated;
      setText($(id), t(key));
    }
    this.drawTheme();
  }

  async chooseLanguage(tag) {
    try {
      await setLanguage(tag, true);
    } catch {
      return; // no connection: the language stays
    }
    this.drawBar();
    this.map.translate();
    this.follow(false);
    $("languages").querySelector('[aria-pressed="true"]').focus();
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
      this.map.repaint();
    };
  }
}

new App().start();
