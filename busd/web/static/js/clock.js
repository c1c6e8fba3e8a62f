// The server's clock. Phones have wrong clocks; minutes are counted down by the server's.

const SAMPLES = 8;

export class ServerClock {
  constructor() {
    this.speed = 1;
    this.samples = [];
  }

  /** A message said that it is `ms` now. Delay can only make a sample too small, so the largest of the last few wins. */
  heard(ms) {
    if (!Number.isFinite(ms)) return;
    this.samples.push([ms, performance.now()]);
    if (this.samples.length > SAMPLES) this.samples.shift();
  }

  /** Epoch milliseconds. */
  ms() {
    if (this.samples.length === 0) return Date.now();
    const local = performance.now();
    let best = -Infinity;
    for (const [ms, at] of this.samples) best = Math.max(best, ms + (local - at) * this.speed);
    return best;
  }

  /** Epoch seconds. */
  now() {
    return this.ms() / 1000;
  }
}
