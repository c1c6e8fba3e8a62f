// Route colours come from the timetable and are often unreadable; contrast is computed (WCAG 2.2, 1.4.3 and 1.4.11).

const NEUTRAL = "2f4858";

/** A line without a colour of its own: GTFS's defaults mean "not given". */
export function isGiven(color, textColor) {
  const hex = clean(color);
  return hex !== null && !(hex === "ffffff" && (clean(textColor) ?? "000000") === "000000");
}

function clean(color) {
  const hex = String(color ?? "").replace(/^#/, "").toLowerCase();
  return /^[0-9a-f]{6}$/.test(hex) ? hex : null;
}

function channels(hex) {
  return [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

export function luminance(hex) {
  const [r, g, b] = channels(hex).map((value) => {
    const c = value / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

export function contrast(a, b) {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}

function mix(hex, other, share) {
  const [a, b] = [channels(hex), channels(other)];
  return a.map((value, i) => Math.round(value + (b[i] - value) * share).toString(16).padStart(2, "0")).join("");
}

/** Colours of a line's badge: the feed's text colour where it can be read on the feed's colour, else black or white. */
export function badgeColours(color, textColor) {
  const bg = isGiven(color, textColor) ? clean(color) : NEUTRAL;
  const wanted = clean(textColor);
  if (wanted !== null && contrast(bg, wanted) >= 4.5) return { bg: `#${bg}`, fg: `#${wanted}` };
  // One of the two always has 4.58:1 or more; with a softer black the greys in the middle would not.
  return { bg: `#${bg}`, fg: contrast(bg, "ffffff") >= contrast(bg, "000000") ? "#ffffff" : "#000000" };
}

/** The line's colour, moved towards black or white until it stands out from `ground` by at least `ratio`. */
export function strokeColour(color, ground, ratio = 3) {
  let hex = isGiven(color, null) ? clean(color) : NEUTRAL;
  const towards = luminance(ground) > 0.4 ? "000000" : "ffffff";
  for (let step = 0; step < 12 && contrast(hex, ground) < ratio; step += 1) hex = mix(hex, towards, 0.15);
  return `#${hex}`;
}
