// What the rider's own browser remembers: language, theme, saved stops. Nothing leaves it.

export function read(key, otherwise) {
  try {
    const text = localStorage.getItem(`busd.${key}`);
    return text === null ? otherwise : JSON.parse(text);
  } catch {
    return otherwise;
  }
}

export function write(key, value) {
  try {
    localStorage.setItem(`busd.${key}`, JSON.stringify(value));
  } catch {
    // private window or full storage: the choice lasts as long as the page
  }
}

export function readWord(key) {
  try {
    return localStorage.getItem(`busd.${key}`);
  } catch {
    return null;
  }
}

export function writeWord(key, word) {
  try {
    if (word === null) localStorage.removeItem(`busd.${key}`);
    else localStorage.setItem(`busd.${key}`, word);
  } catch {
    // as above
  }
}

export function savedStops() {
  const saved = read("stops", []);
  return Array.isArray(saved) ? saved.filter((id) => typeof id === "string") : [];
}

export function toggleSaved(stopId) {
  const saved = savedStops();
  const without = saved.filter((id) => id !== stopId);
  write("stops", without.length < saved.length ? without : [stopId, ...saved].slice(0, 30));
  return without.length === saved.length;
}
