// The line to the server: one websocket, reconnected with jitter, that always carries the complete wanted set.

const SILENCE_MS = 25_000; // the server says something every 10 s
const LONGEST_WAIT_MS = 30_000;

export class Live extends EventTarget {
  constructor(clock) {
    super();
    this.clock = clock;
    this.state = "connecting"; // connecting | open | lost
    this.wanted = { stops: [], lines: [], bbox: null };
    this.vehicles = new Map();
    this.boards = new Map(); // stop id -> {board, freshUntil}
    this.failures = 0;
    this.socket = null;
    this.timer = null;
    this.lastHeard = 0;
    this.pendingWatch = false;
    setInterval(() => this.checkSilence(), 5_000);
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.retryNow());
  }

  /** What the page shows now; sent at once when the line is up, else as soon as it is. */
  watch({ stops = [], lines = [], bbox = null }) {
    this.wanted = { stops, lines, bbox };
    if (this.pendingWatch) return;
    this.pendingWatch = true;
    // Several views may ask in one turn, and a dragged map asks often; the server counts messages.
    setTimeout(() => {
      this.pendingWatch = false;
      this.sendWatch();
    }, 120);
  }

  sendWatch() {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    const message = { type: "watch", stops: this.wanted.stops, lines: this.wanted.lines };
    if (this.wanted.bbox) message.bbox = this.wanted.bbox;
    this.socket.send(JSON.stringify(message));
  }

  connect() {
    clearTimeout(this.timer);
    this.timer = null;
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/live`);
    this.socket = socket;
    this.lastHeard = performance.now();
    socket.addEventListener("open", () => {
      if (socket !== this.socket) return;
      this.failures = 0;
      this.sendWatch();
      this.setState("open");
    });
    socket.addEventListener("message", (event) => socket === this.socket && this.receive(event.data));
    socket.addEventListener("close", () => socket === this.socket && this.closed());
  }

  closed() {
    this.socket = null;
    this.setState("lost");
    const wait = Math.random() * Math.min(LONGEST_WAIT_MS, 1_000 * 2 ** this.failures) + 250;
    this.failures = Math.min(this.failures + 1, 10);
    this.timer = setTimeout(() => this.connect(), wait);
  }

  retryNow() {
    if (this.timer !== null) this.connect();
    else this.checkSilence();
  }

  checkSilence() {
    if (this.socket !== null && performance.now() - this.lastHeard > SILENCE_MS) {
      const dead = this.socket;
      this.socket = null;
      dead.close();
      this.closed();
    }
  }

  setState(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  receive(text) {
    this.lastHeard = performance.now();
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    this.clock.heard(message.now);
    if (message.network) this.dispatchEvent(new CustomEvent("network", { detail: message.network }));
    if (message.type === "hello") this.clock.speed = message.speed ?? 1;
    else if (message.type === "board") this.takeBoard(message);
    else if (message.type === "same") this.takeSame(message);
    else if (message.type === "vehicles") this.takeVehicles(message);
    else if (message.type === "watching") this.dispatchEvent(new CustomEvent("watching", { detail: message }));
  }

  /** The sign protocol's rule: another epoch, or a greater revision. An equal one only extends the trust. */
  takeBoard(board) {
    const held = this.boards.get(board.stop);
    if (held && held.board.epoch === board.epoch && held.board.rev > board.rev) return;
    this.boards.set(board.stop, { board, freshUntil: board.now / 1000 + board.ttl });
    for (const stop of this.boards.keys()) {
      if (this.boards.size <= 40) break;
      if (!this.wanted.stops.includes(stop)) this.boards.delete(stop);
    }
    this.dispatchEvent(new CustomEvent("board", { detail: board.stop }));
  }

  takeSame({ stop, epoch, rev, now, ttl }) {
    const held = this.boards.get(stop);
    if (!held || held.board.epoch !== epoch || held.board.rev !== rev) {
      this.sendWatch();
      return;
    }
    held.freshUntil = Math.max(held.freshUntil, now / 1000 + ttl);
    this.dispatchEvent(new CustomEvent("board", { detail: stop }));
  }

  takeVehicles({ full, set, gone }) {
    if (full) this.vehicles = new Map();
    for (const id of gone) this.vehicles.delete(id);
    for (const vehicle of set) this.vehicles.set(vehicle.id, vehicle);
    this.dispatchEvent(new Event("vehicles"));
  }

  /** The way round when websockets do not get through: ask for the board once. */
  async poll(stopId) {
    const response = await fetch(`/v1/boards/${encodeURIComponent(stopId)}`, { cache: "no-cache" });
    if (!response.ok) return;
    const board = await response.json();
    // The body may come from the browser's cache after a 304; the headers are of this answer.
    board.now = Number(response.headers.get("Busd-Now")) || board.now;
    this.clock.heard(board.now);
    this.takeBoard(board);
  }
}
