// The map: the city's own lines and stops on a plain ground. An enhancement: everything is in the lists as well.

import { Buses } from "./buses.js";
import { strokeColour } from "./colour.js";
import { el } from "./dom.js";
import { nameRuns, t } from "./i18n.js";
import { json } from "./city.js";
import { stopHref } from "./parts.js";

const L = window.L;
const STOPS_FROM_ZOOM = 13.5;
const FEW_STOPS = 120;
const SMALL_BUSES_BELOW_ZOOM = 13;
const DOTS_BELOW_ZOOM = 11.5;
const NEAR_M = 3_000;

export class CityMap {
  constructor(app, node) {
    this.app = app;
    this.node = node;
    this.mode = "city";
    this.chosenStop = null;
    this.chosenLines = [];
    this.network = null;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.leaflet = L.map(node, {
      zoomControl: false,
      attributionControl: false,
      minZoom: 9,
      maxZoom: 18,
      zoomSnap: 0.5,
      renderer: L.canvas({ padding: 0.4, tolerance: 8 }),
      zoomAnimation: !still,
      fadeAnimation: !still,
      markerZoomAnimation: !still,
      inertia: !still,
    });
    this.leaflet.setView([36.06, 103.83], 12);
    this.scale = L.control.scale({ imperial: false, position: "bottomright" }).addTo(this.leaflet);
    this.lines = L.layerGroup().addTo(this.leaflet);
    this.chosen = L.layerGroup().addTo(this.leaflet);
    this.dots = L.layerGroup().addTo(this.leaflet);
    this.mark = L.layerGroup().addTo(this.leaflet);
    // Below the buses: the name of the stop must not hide the one that is coming.
    this.leaflet.createPane("names").style.zIndex = "550";
    this.buses = new Buses(app, this.leaflet);
    this.leaflet.on("moveend", () => this.moved());
    this.leaflet.on("zoomend", () => {
      node.classList.toggle("is-far", this.leaflet.getZoom() < SMALL_BUSES_BELOW_ZOOM);
      node.classList.toggle("is-tiny", this.leaflet.getZoom() < DOTS_BELOW_ZOOM);
    });
    new ResizeObserver(() => this.leaflet.invalidateSize({ pan: false })).observe(node);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.repaint());
    app.live.addEventListener("vehicles", () => this.buses.update(app.live.vehicles));
  }

  async start() {
    this.translate();
    this.fitCity();
    this.network = await json("/v1/map");
    this.repaint();
  }

  translate() {
    this.zoom?.remove();
    this.zoom = L.control
      .zoom({ position: "topright", zoomInTitle: t("zoom_in"), zoomOutTitle: t("zoom_out") })
      .addTo(this.leaflet);
    this.buses.clear();
    this.buses.update(this.app.live.vehicles);
  }

  /** Colours of the ground and of what lies on it, as the style sheet has them now. */
  palette() {
    const style = getComputedStyle(this.node);
    const read = (name) => style.getPropertyValue(name).trim();
    return {
      ground: read("--map-ground").replace("#", ""),
      casing: read("--map-casing"),
      faint: read("--map-faint"),
      stop: read("--map-stop"),
      stopFill: read("--map-stop-fill"),
      accent: read("--accent"),
    };
  }

  repaint() {
    this.drawNetwork();
    this.drawChosen();
    this.drawDots();
    this.drawMark();
  }

  fitCity() {
    const box = this.app.city.config.bbox;
    if (box) this.leaflet.fitBounds([[box[0], box[1]], [box[2], box[3]]], { padding: [28, 28], maxZoom: 15, animate: false });
  }

  showCity() {
    this.mode = "city";
    this.chosenStop = null;
    this.chosenLines = [];
    this.buses.keyboard = false;
    this.buses.emphasise(null);
    this.repaint();
    this.watchView();
  }

  showStop(stop) {
    this.mode = "stop";
    this.chosenStop = stop;
    this.chosenLines = stop.lines;
    this.buses.keyboard = true;
    this.buses.emphasise(new Set());
    this.leaflet.setView([stop.lat, stop.lon], Math.max(14.5, Math.min(16, this.leaflet.getZoom())), { animate: false });
    this.repaint();
  }

  showLines(ids, fit) {
    this.mode = "line";
    this.chosenStop = null;
    this.chosenLines = ids;
    this.buses.keyboard = true;
    this.buses.emphasise(null);
    this.fitLines = fit;
    this.repaint();
  }

  showHere(lat, lon, accuracy) {
    this.here?.remove();
    const { accent } = this.palette();
    this.here = L.layerGroup([
      L.circle([lat, lon], { radius: Math.min(accuracy, 2_000), color: accent, weight: 1, fillOpacity: 0.08, interactive: false }),
      L.circleMarker([lat, lon], { radius: 7, color: "#fff", weight: 2, fillColor: accent, fillOpacity: 1, interactive: false }),
    ]).addTo(this.leaflet);
    this.leaflet.setView([lat, lon], 15, { animate: false });
  }

  fitStopAnd(vehicles) {
    const here = L.latLng(this.chosenStop.lat, this.chosenStop.lon);
    const points = vehicles.map(({ lat, lon }) => L.latLng(lat, lon));
    const close = points.filter((point, i) => i === 0 || here.distanceTo(point) < NEAR_M);
    this.leaflet.fitBounds(L.latLngBounds([here, ...close]), { padding: [56, 56], maxZoom: 16, animate: false });
  }

  moved() {
    this.drawDots();
    if (this.mode === "city") this.watchView();
  }

  watchView() {
    const bounds = this.leaflet.getBounds().pad(0.1);
    const clamp = (value, limit) => Math.max(-limit, Math.min(limit, value));
    this.app.live.watch({
      bbox: [
        clamp(bounds.getSouth(), 90),
        clamp(bounds.getWest(), 180),
        clamp(bounds.getNorth(), 90),
        clamp(bounds.getEast(), 180),
      ],
    });
  }

  drawNetwork() {
    this.lines.clearLayers();
    if (!this.network) return;
    const palette = this.palette();
    const quiet = this.mode !== "city";
    for (const { properties, geometry } of this.network.features) {
      if (quiet && this.chosenLines.includes(properties.route)) continue;
      L.polyline(latLngs(geometry), {
        color: quiet ? palette.faint : strokeColour(properties.color, palette.ground, 2),
        weight: quiet ? 1.5 : 3,
        opacity: quiet ? 1 : 0.75,
        interactive: false,
        lineJoin: "round",
      }).addTo(this.lines);
    }
  }

  async drawChosen() {
    this.chosen.clearLayers();
    const wanted = this.chosenLines;
    if (wanted.length === 0) return;
    let details;
    try {
      details = await Promise.all(wanted.slice(0, 24).map((id) => this.app.city.detail(id)));
    } catch {
      return; // the list works without the drawing; the next visit asks again
    }
    if (wanted !== this.chosenLines) return;
    this.chosen.clearLayers();
    const palette = this.palette();
    // Lines share streets: the busiest lies on top, the night bus below.
    const trips = (detail) => detail.patterns.reduce((sum, pattern) => sum + pattern.trips, 0);
    details.sort((a, b) => trips(a) - trips(b));
    const paths = details.flatMap((detail) =>
      Object.values(detail.shapes).map((shape) => ({ points: latLngs(shape), color: detail.color })),
    );
    for (const { points } of paths) {
      L.polyline(points, { color: palette.casing, weight: 8, interactive: false }).addTo(this.chosen);
    }
    for (const { points, color } of paths) {
      L.polyline(points, { color: strokeColour(color, palette.ground), weight: 4.5, interactive: false }).addTo(this.chosen);
    }
    for (const detail of details) this.buses.addShapes(detail.shapes);
    if (this.fitLines && paths.length > 0) {
      this.fitLines = false;
      this.leaflet.fitBounds(L.latLngBounds(paths.flatMap(({ points }) => points)), { padding: [28, 28], animate: false });
    }
    this.drawDots();
    this.drawMark();
  }

  drawDots() {
    this.dots.clearLayers();
    const { city } = this.app;
    const palette = this.palette();
    const zoom = this.leaflet.getZoom();
    const all = zoom >= STOPS_FROM_ZOOM || city.stops.size <= FEW_STOPS;
    const bounds = this.leaflet.getBounds().pad(0.2);
    const lines = new Set(this.chosenLines);
    for (const stop of city.stops.values()) {
      const onLine = lines.size > 0 && stop.lines.some((id) => lines.has(id));
      if (!(all || (onLine && this.mode === "line")) || !bounds.contains([stop.lat, stop.lon])) continue;
      const quiet = lines.size > 0 && !onLine;
      const dot = L.circleMarker([stop.lat, stop.lon], {
        radius: quiet ? 2.5 : zoom >= 15 ? 5.5 : 4,
        color: quiet ? palette.faint : palette.stop,
        weight: quiet ? 1 : 2,
        fillColor: palette.stopFill,
        fillOpacity: 1,
      });
      dot.bindTooltip(() => el("span", {}, nameRuns(stop.name, "name", "name-second")), { direction: "top", offset: [0, -6] });
      dot.on("click", () => {
        location.hash = stopHref(stop.id);
      });
      dot.addTo(this.dots);
    }
  }

  drawMark() {
    this.mark.clearLayers();
    const stop = this.chosenStop;
    if (!stop) return;
    const palette = this.palette();
    L.circleMarker([stop.lat, stop.lon], {
      radius: 9,
      color: palette.accent,
      weight: 4,
      fillColor: palette.stopFill,
      fillOpacity: 1,
      interactive: false,
    })
      .bindTooltip(el("span", {}, nameRuns(stop.name, "name", "name-second")), {
        permanent: true,
        opacity: 1,
        direction: "bottom",
        offset: [0, 10],
        className: "stop-label",
        pane: "names",
      })
      .addTo(this.mark);
  }

  /** Once a second: ages grow also when nothing comes. */
  tick() {
    this.buses.update(this.app.live.vehicles);
  }
}

function latLngs({ coordinates }) {
  return coordinates.map(([lon, lat]) => [lat, lon]);
}
