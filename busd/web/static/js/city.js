// The planned service, fetched once: stops, lines, and the geometry of the lines that are looked at.

export class City {
  constructor() {
    this.config = null;
    this.stops = new Map();
    this.lines = new Map();
    this.details = new Map();
  }

  async load() {
    const [config, stops, lines] = await Promise.all([json("/v1/config"), json("/v1/stops"), json("/v1/lines")]);
    this.config = config;
    this.stops = new Map(stops.map((stop) => [stop.id, stop]));
    this.lines = new Map(lines.map((line) => [line.id, line]));
    this.details.clear();
    return config;
  }

  /** Lines of a stop, in the order people count. */
  linesOf(stopId) {
    return (this.stops.get(stopId)?.lines ?? []).map((id) => this.lines.get(id)).filter(Boolean);
  }

  /** The line that a board calls `shortName`; the stop's own lines first, since two agencies may use one number. */
  lineNamed(shortName, stopId) {
    return (
      this.linesOf(stopId).find(({ line }) => line === shortName) ??
      [...this.lines.values()].find(({ line }) => line === shortName) ??
      null
    );
  }

  /** Patterns and shapes of a line; asked for once. */
  detail(lineId) {
    if (!this.details.has(lineId)) {
      const promise = json(`/v1/lines/${encodeURIComponent(lineId)}`);
      promise.catch(() => this.details.delete(lineId));
      this.details.set(lineId, promise);
    }
    return this.details.get(lineId);
  }

  search(query) {
    return json(`/v1/stops?limit=30&q=${encodeURIComponent(query)}`);
  }

  near(lat, lon) {
    return json(`/v1/stops?limit=20&near=${lat.toFixed(5)},${lon.toFixed(5)}`);
  }
}

export async function json(path) {
  const response = await fetch(path, { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error(`${response.status} ${path}`);
  return response.json();
}
