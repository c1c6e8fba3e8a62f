// The forms of orders. They only collect; what is wrong with an order the server says.

import { el } from "./dom.js";
import { t } from "./i18n.js";

const HOURS = [0, 1, 2, 4, 8, 24];
let number = 0;
let serverNow = () => Date.now() / 1000;

/** Ends are instants of the server's clock. */
export function useClock(clock) {
  serverNow = () => clock.now();
}

function field(label, input) {
  number += 1;
  input.id = `f${number}`;
  return el("div", { class: "field" }, el("label", { for: input.id, text: label }), input);
}

function choice(values, text, selected) {
  return el("select", {}, values.map((value) => el("option", { value: String(value), text: text(value), selected: value === selected })));
}

/** The instant in so many hours, by the server's clock; null for "until it is ended". */
function inHours(select) {
  const hours = Number(select.value);
  return hours ? Math.round(serverNow() + hours * 3600) : null;
}

const LANGUAGES = [["zh-Hans", "中文"], ["en", "English"], ["bo", "བོད་ཡིག"]];

function texts() {
  const inputs = LANGUAGES.map(([tag, name]) => [tag, name, el("input", { type: "text", maxlength: 500, lang: tag })]);
  const read = () => Object.fromEntries(inputs.map(([tag, , input]) => [tag, input.value.trim()]).filter(([, text]) => text));
  return { nodes: inputs.map(([, name, input]) => field(name, input)), read };
}

function form(nodes, button, submit) {
  const node = el("form", { class: "form" }, ...nodes, el("div", { class: "form-end" }, button));
  node.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  return node;
}

const submitButton = (text, kind = "primary") => el("button", { class: kind, type: "submit", text });
const hourChoice = () => choice(HOURS, (h) => (h ? t("in_hours", { n: h }) : t("until_ended")), 0);

export function messageForm(targets, send) {
  const words = texts();
  const where = el("input", { type: "text", value: targets.join(" ") || "all", placeholder: "all  line:8  line:8/0  group:west  stop:S1" });
  const priority = choice([0, 1, 2], (p) => t(`prio_${p}`), 0);
  const ends = hourChoice();
  const takeover = el("input", { type: "checkbox" });
  const box = el("label", { class: "check", hidden: true }, takeover, t("takeover"));
  priority.addEventListener("change", () => {
    box.hidden = priority.value !== "2";
    if (box.hidden) takeover.checked = false;
  });
  return form(
    [...words.nodes, field(t("targets"), where), el("div", { class: "field-row" }, field(t("priority"), priority), field(t("ends"), ends)), box],
    submitButton(t("publish")),
    () =>
      send({
        text: words.read(),
        targets: where.value.split(/[\s,，]+/).filter(Boolean),
        priority: Number(priority.value),
        takeover: takeover.checked,
        end_at: inHours(ends),
      }),
  );
}

export function modeForm(target, mode, send, clear) {
  const what = choice(["auto", "off", "text", "out_of_order"], (m) => t(`mode_${m}`), mode ?? "auto");
  const ends = hourChoice();
  const words = texts();
  const wordBox = el("div", { class: "form-texts" }, ...words.nodes);
  const show = () => {
    wordBox.hidden = !["text", "out_of_order"].includes(what.value);
  };
  what.addEventListener("change", show);
  show();
  return form([el("div", { class: "field-row" }, field(t("mode"), what), field(t("ends"), ends)), wordBox], submitButton(t("set")), () => {
    if (what.value === "auto") clear();
    else send({ target, mode: what.value, text: wordBox.hidden ? {} : words.read(), until_at: inHours(ends) });
  });
}

export function suppressForm(send) {
  const line = el("input", { type: "text", placeholder: "8", required: true });
  const direction = choice(["", "0", "1"], (d) => (d ? t("direction", { n: d }) : t("both_directions")), "");
  const reason = el("input", { type: "text", maxlength: 200 });
  return form(
    [el("p", { class: "hint", text: t("suppress_hint") }), el("div", { class: "field-row" }, field(t("line"), line), field(t("direction_label"), direction)), field(t("reason"), reason)],
    submitButton(t("suppress")),
    () => send({ target: `line:${line.value.trim()}${direction.value ? `/${direction.value}` : ""}`, reason: reason.value.trim() }),
  );
}
