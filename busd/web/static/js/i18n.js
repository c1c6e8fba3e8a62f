// The words of the page and the choice among the languages of a name (busd.sign.v1 "Text").

import { readWord, writeWord } from "./store.js";
import { el } from "./dom.js";

export const LANGUAGES = [
  { tag: "zh-Hans", short: "中文", name: "简体中文" },
  { tag: "en", short: "EN", name: "English" },
  { tag: "bo", short: "བོད", name: "བོད་ཡིག" },
];

let pages = "";
let words = {};
let spare = {};
let plural = new Intl.PluralRules("en");
export let language = "zh-Hans";

function preferred() {
  const asked = new URLSearchParams(location.search).get("lang");
  for (const wish of [asked, readWord("lang"), ...(navigator.languages ?? [])]) {
    const found = LANGUAGES.find(({ tag }) => primary(tag) === primary(wish ?? ""));
    if (found) return found.tag;
  }
  return "en";
}

function primary(tag) {
  return tag.toLowerCase().split("-")[0];
}

/** The words of another page: files `<name>.<tag>.json`, in fewer languages. */
export function useWords(name, tags) {
  pages = `${name}.`;
  LANGUAGES.splice(0, LANGUAGES.length, ...LANGUAGES.filter(({ tag }) => tags.includes(tag)));
}

async function load(tag) {
  const response = await fetch(`/static/i18n/${pages}${tag}.json`);
  if (!response.ok) throw new Error(`no words for ${tag}`);
  return response.json();
}

export async function setLanguage(tag = preferred(), remember = false) {
  [words, spare] = await Promise.all([load(tag), tag === "bo" ? load("zh-Hans") : {}]);
  language = tag;
  plural = new Intl.PluralRules(tag);
  document.documentElement.lang = tag;
  if (remember) writeWord("lang", tag);
}

/** The words for `key` with {placeholders} filled in; `n` also chooses the plural form. */
export function t(key, values = {}) {
  let phrase = words[key] ?? spare[key] ?? key;
  if (typeof phrase === "object") phrase = phrase[plural.select(values.n ?? 0)] ?? phrase.other;
  return phrase.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

function find(text, tag) {
  const wanted = tag.toLowerCase();
  const entries = Object.entries(text ?? {}).filter(([, value]) => typeof value === "string" && value !== "");
  return (
    entries.find(([key]) => key.toLowerCase() === wanted) ??
    entries.find(([key]) => primary(key) === primary(tag)) ??
    null
  );
}

/** [[tag, name], [tag, second name] or null]: the reader's language first, beside it one that helps to recognise it. */
export function pair(text) {
  const entries = Object.entries(text ?? {}).filter(([, value]) => typeof value === "string" && value !== "");
  const first = find(text, language) ?? find(text, "zh-Hans") ?? entries[0] ?? ["und", ""];
  const partner = primary(language) === "zh" ? "en" : "zh-Hans";
  const second = find(text, partner) ?? find(text, primary(language) === "en" ? "zh" : "en");
  return [first, second !== null && second[1] !== first[1] ? second : null];
}

/** The name in the reader's language. */
export function one(text) {
  return pair(text)[0][1];
}

/** Two runs of a bilingual name, each marked with its language (fonts, line height and voices depend on it). */
export function nameRuns(text, firstClass, secondClass) {
  const [first, second] = pair(text);
  return [
    el("span", { class: firstClass, lang: first[0] === "und" ? null : first[0], dir: "auto", text: first[1] }),
    second && el("span", { class: secondClass, lang: second[0], dir: "auto", text: second[1] }),
  ];
}

let zone = "UTC";
let dayFormat = new Intl.DateTimeFormat("en-CA", { timeZone: zone });
let clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: zone });

export function setTimeZone(name) {
  try {
    clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: name });
    dayFormat = new Intl.DateTimeFormat("en-CA", { timeZone: name });
    zone = name;
  } catch {
    // a zone that this browser does not know: UTC, and the page says which zone it shows
  }
  return zone;
}

/** YYYY-MM-DD HH:MM in the city's time zone. */
export function dayTime(seconds) {
  return `${dayFormat.format(new Date(seconds * 1000))} ${clockTime(seconds)}`;
}

/** HH:MM in the city's time zone. */
export function clockTime(seconds) {
  return clockFormat.format(new Date(seconds * 1000));
}
