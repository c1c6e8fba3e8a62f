// The live feed of the operators' page, and its calls. The token lives in this tab only and is never part of an address.

const RETRY_MS = [500, 1_000, 2_000, 5_000, 10_000];
const TOKEN = "busd.operator";

export class Feed extends EventTarget {
  constructor(clock) {
    super();
    this.clock = clock;
    this.token = sessionStorage.getItem(TOKEN) ?? "";
    this.me = null;
    this.view = null;
    this.failures = 0;
  }

  /** Signs in; resolves to who we are, or throws with a word for the reason. */
  async signIn(token) {
    this.token = token;
    this.me = await this.call("GET", "me");
    sessionStorage.setItem(TOKEN, token);
    this.connect();
    return this.me;
  }

  signOut() {
    sessionStorage.removeItem(TOKEN);
    location.reload();
  }

  can(role) {
    const order = ["viewer", "dispatcher", "admin"];
    return this.me !== null && order.indexOf(this.me.role) >= order.indexOf(role);
  }

  async call(method, path, body) {
    let response;
    try {
      response = await fetch(`/v1/admin/${path}`, {
        method,
        headers: { Authorization: `Bearer ${this.token}`, ...(body ? { "Content-Type": "application/json" } : {}) },
        body: body ? JSON.stringify(body) : undefined,
      });
    } catch {
      throw new Error("no_connection");
    }
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(answer.detail || answer.error || String(response.status));
    return answer;
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/v1/admin/live`);
    this.socket = socket;
    socket.addEventListener("open", () => socket.send(JSON.stringify({ type: "auth", token: this.token })));
    socket.addEventListener("message", (event) => this.receive(JSON.parse(event.data)));
    socket.addEventListener("close", (event) => {
      if (this.socket !== socket) return;
      this.socket = null;
      this.tell("state", { live: false });
      if (event.code === 4401) return this.signOut();
      const wait = RETRY_MS[Math.min(this.failures, RETRY_MS.length - 1)];
      this.failures += 1;
      setTimeout(() => this.connect(), wait * (0.5 + Math.random()));
    });
  }

  receive(message) {
    if (message.now) this.clock.heard(message.now);
    if (message.type === "hello") {
      this.failures = 0;
      this.clock.speed = message.speed;
      this.tell("hello", message);
      this.tell("state", { live: true });
      if (this.view) this.send();
    } else if (message.type === "page") this.tell("page", message);
  }

  /** What the page shows from now on. */
  show(view) {
    this.view = view;
    if (this.socket?.readyState === WebSocket.OPEN) this.send();
  }

  send() {
    this.socket.send(JSON.stringify({ type: "view", ...this.view }));
  }

  tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
