// Points on a line of the map, by metres along it.

/** {lat, lon, bearing} at `metres` along a shape {coordinates: [[lon, lat]...], m: [...]}; its ends beyond the ends. */
export function pointAt(shape, metres) {
  const { coordinates, m } = shape;
  let low = 0;
  let high = m.length - 1;
  if (high < 1) return { lat: coordinates[0][1], lon: coordinates[0][0], bearing: null };
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (m[middle] <= metres) low = middle;
    else high = middle;
  }
  const span = m[high] - m[low];
  const share = span > 0 ? Math.min(1, Math.max(0, (metres - m[low]) / span)) : 0;
  const [a, b] = [coordinates[low], coordinates[high]];
  return {
    lat: a[1] + (b[1] - a[1]) * share,
    lon: a[0] + (b[0] - a[0]) * share,
    bearing: span > 0 ? bearing(a, b) : null,
  };
}

/** Degrees clockwise from north, from one [lon, lat] to another; flat enough for one street. */
function bearing(a, b) {
  const east = (b[0] - a[0]) * Math.cos((a[1] * Math.PI) / 180);
  return ((Math.atan2(east, b[1] - a[1]) * 180) / Math.PI + 360) % 360;
}
