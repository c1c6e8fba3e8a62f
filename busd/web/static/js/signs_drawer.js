// What opens beside the grid: one sign with all that is known of it, the orders that stand, the alarms.

import { el, icon, setText } from "./dom.js";
import { dayTime, one, t } from "./i18n.js";
import { lasted, PanelView, seenText, signName } from "./signs_card.js";
import { messageForm, modeForm, suppressForm, useClock } from "./signs_forms.js";

export class Drawer {
  constructor(dialog, app) {
    this.dialog = dialog;
    this.app = app;
    useClock(app.clock);
    this.sign = null;
    dialog.addEventListener("close", () => {
      this.sign = null;
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close(); // the ground behind it
    });
  }

  close() {
    this.dialog.close();
  }

  open(title, ...content) {
    this.problem = el("p", { class: "problem", role: "alert", hidden: true });
    const close = el("button", { class: "icon-button", type: "button", "aria-label": t("close"), on: { click: () => this.close() } }, icon("close"));
    this.dialog.replaceChildren(
      el("div", { class: "drawer-in" }, el("header", { class: "drawer-head" }, title, close), this.problem, ...content),
    );
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.scrollTop = 0;
  }

  /** Does something for the operator; what goes wrong is said where it was asked for. */
  async run(work, then) {
    try {
      await work();
    } catch (error) {
      this.problem.hidden = false;
      setText(this.problem, error.message === "no_connection" ? t("no_connection") : error.message);
      this.problem.scrollIntoView({ block: "nearest" });
      return;
    }
    this.app.announce(t("done"));
    await then?.();
  }

  // ---- a sign ----------------------------------------------------------------------------------------------------

  async openSign(sign) {
    const { feed } = this.app;
    const row = this.app.grid.rows.get(sign) ?? (await feed.call("GET", `signs/${encodeURIComponent(sign)}`));
    this.panel = new PanelView();
    this.facts = el("dl", { class: "facts" });
    this.state = el("p", { class: "drawer-state" });
    this.alarmList = el("div", { class: "alarm-list" });
    const parts = [this.state, el("div", { class: "drawer-panel" }, this.panel.node), this.alarmList];
    if (feed.can("dispatcher")) {
      const target = `sign:${sign}`;
      parts.push(
        section(t("mode"), modeForm(target, row.mode, (order) => this.run(() => feed.call("POST", "modes", order)), () => this.run(() => feed.call("DELETE", `modes/${encodeURIComponent(target)}`)))),
        section(t("new_message"), messageForm([target], (order) => this.run(() => feed.call("POST", "messages", order), () => this.openOrders()))),
      );
    }
    parts.push(section(t("facts"), this.facts));
    if (feed.can("admin")) parts.push(section(t("care"), this.care(row)));
    this.open(el("h2", {}, el("span", { class: "sign-id", text: sign }), el("span", { class: "sign-name", dir: "auto", text: signName(row) })), ...parts);
    this.sign = sign;
    this.drawSign(row);
  }

  care(row) {
    const answer = el("pre", { class: "answer", hidden: true });
    const path = `signs/${encodeURIComponent(row.sign)}`;
    const send = (op) => this.run(async () => {
      const result = await this.app.feed.call("POST", `${path}/commands`, { op });
      answer.hidden = false;
      setText(answer, `${op}: ${result.ok ? "ok" : t("refused")} ${JSON.stringify(result.info)}`);
    });
    const buttons = (row.caps ?? []).includes("cmd")
      ? ["info", "test", "reload", "reboot"].map((op) => el("button", { type: "button", text: t(`op_${op}`), on: { click: () => send(op) } }))
      : [];
    const token = el("button", { type: "button", text: t("new_token"), hidden: !row.is_entered, on: { click: () => this.run(async () => {
      const result = await this.app.feed.call("POST", `${path}/token`);
      answer.hidden = false;
      setText(answer, `${t("token_once")}\n${result.token}`);
    }) } });
    return el("div", { class: "care" }, ...buttons, token, answer);
  }

  drawSign(row) {
    const now = this.app.clock.now();
    this.row = row;
    this.dialog.dataset.state = row.state;
    this.state.replaceChildren(
      el("span", { class: "state-dot" }),
      el("b", { text: t(`state_${row.state}`) }),
      el("span", { text: ` · ${seenText(row, now)}` }),
    );
    this.panel.update(row);
    this.panel.tick(now);
    this.alarmList.replaceChildren(...(row.alarms ?? []).map((alarm) => this.alarmRow({ ...alarm, sign: row.sign, alarm_id: alarm.id }, now)));
    this.facts.replaceChildren(...factRows(row, now).flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value, dir: "auto" })]));
  }

  update(rows) {
    const row = this.sign && rows.get(this.sign);
    if (row && row !== this.row) this.drawSign(row);
  }

  tick(now) {
    if (this.sign) this.panel.tick(now);
  }

  // ---- alarms ----------------------------------------------------------------------------------------------------

  async openAlarms() {
    const { alarms, now } = await this.app.feed.call("GET", "alarms?past=30");
    const active = alarms.filter((alarm) => !alarm.cleared_at);
    const past = alarms.filter((alarm) => alarm.cleared_at);
    this.open(
      el("h2", { text: t("alarms") }),
      el("div", { class: "alarm-list" }, active.length ? active.map((alarm) => this.alarmRow(alarm, now)) : el("p", { class: "hint", text: t("no_alarms") })),
      past.length ? section(t("past_alarms"), el("div", { class: "alarm-list is-past" }, past.map((alarm) => this.alarmRow(alarm, now)))) : null,
    );
  }

  alarmRow(alarm, now) {
    const ends = alarm.cleared_at ?? now;
    const see = !alarm.cleared_at && !alarm.seen_at && this.app.feed.can("dispatcher");
    return el(
      "div",
      { class: "alarm", data: { state: alarm.kind } },
      el("span", { class: "state-dot" }),
      el("button", { class: "link", type: "button", text: alarm.sign, on: { click: () => this.openSign(alarm.sign) } }),
      el("span", { text: t(`state_${alarm.kind}`) }),
      el("span", { class: "hint", text: t("for", { time: lasted(ends - alarm.raised_at) }) + (alarm.seen_by ? ` · ${t("seen_by", { name: alarm.seen_by })}` : "") }),
      see && el("button", { type: "button", text: t("see"), on: { click: () => this.run(() => this.app.feed.call("POST", `alarms/${alarm.alarm_id}/seen`), () => this.openAlarms()) } }),
    );
  }

  // ---- orders ----------------------------------------------------------------------------------------------------

  async openOrders() {
    const { feed } = this.app;
    const [{ messages }, { modes }, { suppressions }] = await Promise.all(["messages", "modes", "suppressions"].map((kind) => feed.call("GET", kind)));
    const again = () => this.openOrders();
    const end = (path) => () => this.run(() => feed.call("DELETE", path), again);
    const rows = [
      ...messages.map((m) => this.orderRow(t(`prio_${m.priority ?? 0}`), one(m.text), m.targets, m.end_at, m.set_by, `prio-${m.priority ?? 0}`, end(`messages/${m.message_id}`))),
      ...modes.map((m) => this.orderRow(t(`mode_${m.mode}`), one(m.text ?? {}), [m.target], m.until_at, m.set_by, "mode", end(`modes/${encodeURIComponent(m.target)}`))),
      ...suppressions.map((s) => this.orderRow(t("suppressed"), s.reason ?? "", [s.target], s.until_at, s.set_by, "mode", end(`suppressions/${encodeURIComponent(s.target)}`))),
    ];
    const forms = feed.can("dispatcher")
      ? [
          section(t("new_message"), messageForm([], (order) => this.run(() => feed.call("POST", "messages", order), again))),
          section(t("suppress"), suppressForm((order) => this.run(() => feed.call("POST", "suppressions", order), again))),
        ]
      : [];
    this.open(el("h2", { text: t("orders") }), el("div", { class: "order-list" }, rows.length ? rows : el("p", { class: "hint", text: t("no_orders") })), ...forms);
  }

  orderRow(kind, text, targets, endAt, by, look, end) {
    const until = endAt ? t("until", { time: dayTime(endAt) }) : t("until_ended");
    return el(
      "div",
      { class: `order order-${look}` },
      el("div", { class: "order-main" }, el("span", { class: "tag", text: kind }), el("span", { dir: "auto", text })),
      el("span", { class: "hint", text: `${targets.join(", ")} · ${until}${by ? ` · ${by}` : ""}` }),
      this.app.feed.can("dispatcher") && el("button", { type: "button", text: t("end"), on: { click: end } }),
    );
  }
}

function section(title, ...content) {
  return el("section", {}, el("h3", { text: title }), ...content);
}

function factRows(row, now) {
  const tele = row.tele ?? {};
  const [month, traffic] = Object.entries(row.traffic ?? {})[0] ?? [];
  const glass = row.glass;
  return [
    [t("fact_stops"), (row.boards ?? []).map((board) => `${one(board.name)} (${board.stop})`).join(", ") || (row.stops ?? []).join(", ")],
    [t("fact_place"), row.place],
    [t("fact_groups"), (row.groups ?? []).join(", ")],
    [t("fact_panel"), row.rows ? `${row.rows} × ${row.cols}` : ""],
    [t("fact_hw"), [row.hw, row.fw].filter(Boolean).join(" · ")],
    [t("fact_glass"), glass?.samples ? t("glass_all", { a: glass.p50, b: glass.p95, c: glass.p99 }) : ""],
    [t("fact_revision"), (row.boards ?? []).map((board) => `${board.stop} ${board.rev}${board.shown ? " ✓" : ""}`).join(", ")],
    [t("fact_sessions"), row.sessions],
    [t("fact_close"), row.close_code],
    [t("fact_volt"), tele.volt !== undefined ? `${tele.volt} V` : ""],
    [t("fact_temp"), tele.temp !== undefined ? `${tele.temp} °C` : ""],
    [t("fact_rssi"), tele.rssi !== undefined ? `${tele.rssi} dBm` : ""],
    [t("fact_clock"), tele.clock_err_ms !== undefined ? `${tele.clock_err_ms} ms` : ""],
    [t("fact_errors"), [row.draw_error, ...(tele.panel_err ?? [])].filter(Boolean).join(", ")],
    [t("fact_tele"), row.tele_at ? t("ago", { time: lasted(now - row.tele_at) }) : ""],
    [t("fact_data", { month: month ?? "" }), traffic ? t("data_both", { a: bytes(traffic[0]), b: bytes(traffic[1]) }) : ""],
  ]
    .filter(([, value]) => value !== undefined && value !== null && value !== "")
    .map(([name, value]) => [name, String(value)]);
}

function bytes(n) {
  return n < 1e6 ? `${(n / 1e3).toFixed(1)} kB` : `${(n / 1e6).toFixed(1)} MB`;
}
