// Buses on the map: a badge with a heading, gliding along its line when a new position comes.

import { el, setText } from "./dom.js";
import { one, nameRuns, t } from "./i18n.js";
import { ageText, badge, paint } from "./parts.js";
import { pointAt } from "./shape.js";

const L = window.L;
const OLD_S = 60; // grey
const GONE_S = 180; // no longer drawn: nobody knows where it is
const GLIDE_MS = 1_600;
const LONGEST_GLIDE_M = 1_500;

export class Buses {
  constructor(app, leaflet) {
    this.app = app;
    this.leaflet = leaflet;
    this.shapes = new Map();
    this.shown = new Map(); // vehicle id -> {vehicle, marker, node, at, from, to, began}
    this.important = null; // ids that the board names, or null: all alike
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.frame = null;
    this.keyboard = false;
  }

  /** Shapes of a line, so that its buses can be put on it. */
  addShapes(shapes) {
    for (const [key, shape] of Object.entries(shapes)) this.shapes.set(Number(key), shape);
    this.update(this.app.live.vehicles);
  }

  emphasise(ids) {
    this.important = ids;
    for (const bus of this.shown.values()) this.dress(bus);
  }

  clear() {
    for (const bus of this.shown.values()) bus.marker.remove();
    this.shown.clear();
  }

  update(vehicles) {
    const now = this.app.clock.now();
    for (const [id, bus] of this.shown) {
      const vehicle = vehicles.get(id);
      if (!vehicle || now - vehicle.at > GONE_S) {
        bus.marker.remove();
        this.shown.delete(id);
      }
    }
    for (const vehicle of vehicles.values()) {
      if (now - vehicle.at > GONE_S) continue;
      const bus = this.shown.get(vehicle.id);
      if (!bus) this.add(vehicle);
      else if (bus.vehicle !== vehicle || bus.shapeKnown !== this.shapes.has(vehicle.shape)) this.move(bus, vehicle);
      else this.dress(bus);
    }
  }

  add(vehicle) {
    const arrow = el("span", { class: "bus-arrow" });
    const label = el("span", { class: "bus-label", dir: "auto" });
    const node = el("span", { class: "bus" }, arrow, label);
    const place = this.place(vehicle);
    const marker = L.marker([place.lat, place.lon], {
      icon: L.divIcon({ html: node, className: "bus-marker", iconSize: [44, 32], popupAnchor: [0, -10] }),
      keyboard: this.keyboard,
      riseOnHover: true,
    });
    const bus = { vehicle, marker, node, arrow, label, place, glide: null, shapeKnown: this.shapes.has(vehicle.shape) };
    marker.bindPopup(() => this.card(bus), { closeButton: false, autoPanPadding: [24, 24], className: "bus-popup" });
    marker.addTo(this.leaflet);
    this.shown.set(vehicle.id, bus);
    this.dress(bus);
  }

  /** Where a bus is drawn: on its line where the server has put it there, else where it says it is. */
  place(vehicle) {
    const shape = this.shapes.get(vehicle.shape);
    if (shape && Number.isFinite(vehicle.dist)) {
      const point = pointAt(shape, vehicle.dist);
      return { ...point, bearing: point.bearing ?? vehicle.bearing ?? null, shape: vehicle.shape, dist: vehicle.dist };
    }
    return { lat: vehicle.lat, lon: vehicle.lon, bearing: vehicle.bearing ?? null, shape: null, dist: null };
  }

  move(bus, vehicle) {
    const from = bus.place;
    const to = this.place(vehicle);
    bus.vehicle = vehicle;
    bus.shapeKnown = this.shapes.has(vehicle.shape);
    const onOneLine = from.shape !== null && from.shape === to.shape;
    const far = onOneLine ? Math.abs(to.dist - from.dist) : this.leaflet.distance([from.lat, from.lon], [to.lat, to.lon]);
    if (this.still.matches || far > LONGEST_GLIDE_M || document.hidden) {
      bus.glide = null;
      this.put(bus, to);
    } else {
      bus.glide = { from, to, onOneLine, began: performance.now() };
      this.frame ??= requestAnimationFrame((at) => this.step(at));
    }
    this.dress(bus);
    if (bus.marker.isPopupOpen()) bus.marker.getPopup().update();
  }

  step(at) {
    this.frame = null;
    let moving = false;
    for (const bus of this.shown.values()) {
      const { glide } = bus;
      if (!glide) continue;
      const share = Math.min(1, Math.max(0, (at - glide.began) / GLIDE_MS));
      const eased = share < 0.5 ? 2 * share * share : 1 - (-2 * share + 2) ** 2 / 2;
      if (share >= 1) {
        bus.glide = null;
        this.put(bus, glide.to);
        continue;
      }
      moving = true;
      const { from, to } = glide;
      if (glide.onOneLine) {
        const dist = from.dist + (to.dist - from.dist) * eased;
        const point = pointAt(this.shapes.get(to.shape), dist);
        this.put(bus, { ...point, bearing: point.bearing ?? to.bearing, shape: to.shape, dist });
      } else {
        this.put(bus, {
          ...to,
          lat: from.lat + (to.lat - from.lat) * eased,
          lon: from.lon + (to.lon - from.lon) * eased,
          shape: null,
        });
      }
    }
    if (moving) this.frame = requestAnimationFrame((next) => this.step(next));
  }

  put(bus, place) {
    bus.place = place;
    bus.marker.setLatLng([place.lat, place.lon]);
    bus.arrow.hidden = place.bearing === null;
    if (place.bearing !== null) bus.arrow.style.transform = `rotate(${Math.round(place.bearing)}deg)`;
  }

  dress(bus) {
    const { vehicle, node, marker } = bus;
    const age = this.app.clock.now() - vehicle.at;
    const line = this.app.city.lines.get(vehicle.route) ?? { line: vehicle.line };
    setText(bus.label, vehicle.line);
    paint(node, line);
    node.classList.toggle("is-old", age >= OLD_S);
    node.classList.toggle("is-minor", this.important !== null && !this.important.has(vehicle.id));
    marker.setZIndexOffset(this.important?.has(vehicle.id) ? 1_000 : 0);
    if (!bus.glide) this.put(bus, bus.place);
    const outer = marker.getElement();
    if (outer) {
      outer.setAttribute("role", "button");
      outer.dataset.vehicle = vehicle.id;
      const label = t("bus_label", { line: vehicle.line, head: one(vehicle.head), age: ageText(age) });
      if (outer.getAttribute("aria-label") !== label) outer.setAttribute("aria-label", label);
    }
  }

  card(bus) {
    const { vehicle } = bus;
    const words = [ageText(this.app.clock.now() - vehicle.at)];
    if (Number.isFinite(vehicle.dev)) {
      const minutes = Math.floor(Math.abs(vehicle.dev) / 60);
      words.push(minutes < 2 ? t("on_time") : t(vehicle.dev > 0 ? "late" : "early", { n: minutes }));
    }
    if (vehicle.occ) words.push(t(`occ_${vehicle.occ}`));
    const line = this.app.city.lines.get(vehicle.route) ?? { line: vehicle.line };
    return el(
      "div",
      { class: "bus-card" },
      badge(line),
      el(
        "div",
        {},
        el("div", { class: "dep-head" }, nameRuns(vehicle.head, "name", "name-second")),
        el("div", { class: "dep-meta", text: words.join(" · ") }),
        el("div", { class: "dep-meta", text: t("bus_vehicle", { id: vehicle.label ?? vehicle.id }) }),
      ),
    );
  }
}
