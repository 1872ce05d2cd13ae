"use strict";
/* The latent map of `report.html`: images as points, the paths of the pair that is played, and what
lies under the pointer. It uses the small tools of `report.js`, which stands after it. */

// Viridis for numbers, the circle of hues for those that come back, Okabe & Ito's for labels.
const VIRIDIS = "440154 472d7b 3b528b 2c728e 21918c 28ae80 5ec962 addc30 fde725"
  .split(" ")
  .map((hex) => [0, 2, 4].map((n) => parseInt(hex.slice(n, n + 2), 16)));
const LABELS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8c8c8c"];
const MOST_NAMED = 24;
const UNKNOWN = "#8888";

function makeMap(map) {
  const canvas = get("map");
  const back = document.createElement("canvas"); // points and edges, which rarely change
  const coordinates = unpack(map.points, Float32Array);
  const numbers = unpack(map.numbers, Uint32Array);
  const edges = map.edges ? unpack(map.edges, Uint32Array) : [];
  const pictured = new Map(Array.from(unpack(map.pictured, Uint32Array), (p, i) => [p, i]));
  const inOrder = { name: "order in the set", labels: [], period: 0 };
  inOrder.values = Float32Array.from(numbers);
  for (const factor of map.factors) factor.values = unpack(factor.values, Float32Array);
  // Those that vary, the order of the set, and no colour at all.
  const varies = (factor) => range(factor.values)[0] < range(factor.values)[1];
  map.factors = map.factors.filter(varies);
  const colourings = [...map.factors, inOrder, null];
  const view = { axes: [0, 1], colouring: 0, zoom: 1, x: 0, y: 0, hovered: -1 };
  let placed = []; // where points are on the canvas, in CSS pixels: x, y, x, y, ...
  let scale = 1;
  let middle = [0, 0];

  const place = (row) => [
    canvas.clientWidth / 2 + (row[view.axes[0]] - middle[0]) * scale + view.x,
    canvas.clientHeight / 2 - (row[view.axes[1]] - middle[1]) * scale + view.y,
  ];

  // Both axes have one scale, so that distances are those of the codes.
  function fit() {
    const spans = view.axes.map((axis, side) => {
      const values = coordinates.subarray(axis * map.count, (axis + 1) * map.count);
      const [low, high] = range(values);
      middle[side] = (low + high) / 2;
      return high - low || 1e-9;
    });
    const sides = [canvas.clientWidth - 36, canvas.clientHeight - 36];
    scale = view.zoom * Math.min(sides[0] / spans[0], sides[1] / spans[1]);
    const [first, second] = view.axes.map((axis) => axis * map.count);
    placed = new Float32Array(2 * map.count);
    for (let point = 0; point < map.count; point++) {
      const row = [];
      row[view.axes[0]] = coordinates[first + point];
      row[view.axes[1]] = coordinates[second + point];
      placed.set(place(row), 2 * point);
    }
  }

  function drawBack() {
    const context = prepared(back, canvas);
    fit();
    if (get("edges").checked) {
      context.strokeStyle = colour("--faint");
      context.lineWidth = 0.6;
      context.beginPath();
      for (let n = 0; n < edges.length; n += 2) {
        context.moveTo(placed[2 * edges[n]], placed[2 * edges[n] + 1]);
        context.lineTo(placed[2 * edges[n + 1]], placed[2 * edges[n + 1] + 1]);
      }
      context.stroke();
    }
    if (get("pictures").checked) drawPictures(context);
    else drawDots(context);
  }

  function drawDots(context) {
    const colouring = colourings[view.colouring];
    const inks = colouring ? scaleOf(colouring) : null;
    const size = clamp(150 / Math.sqrt(map.count), 2, 7) * Math.sqrt(view.zoom);
    context.globalAlpha = 0.85;
    context.fillStyle = colour("--quiet");
    for (let point = 0; point < map.count; point++) {
      if (inks) context.fillStyle = inks(colouring.values[point]);
      context.beginPath();
      context.arc(placed[2 * point], placed[2 * point + 1], size / 2, 0, 7);
      context.fill();
    }
    context.globalAlpha = 1;
  }

  // Of the images that fall into a cell of the canvas, one is shown.
  function drawPictures(context) {
    const { width, height } = map.thumbnails;
    const side = clamp(Math.max(width, height), 28, 44);
    const [wide, high] = [width, height].map((n) => (n * side) / Math.max(width, height));
    const taken = new Set();
    for (const [point, cell] of pictured) {
      const [x, y] = [placed[2 * point], placed[2 * point + 1]];
      const key = `${Math.floor(x / (wide + 2))} ${Math.floor(y / (high + 2))}`;
      if (taken.has(key)) continue;
      taken.add(key);
      const [left, top] = key.split(" ").map((n, i) => n * ([wide, high][i] + 2) + 1);
      drawCell(context, map.thumbnails, cell, left, top, wide, high);
    }
  }

  function draw() {
    if (!back.width || !canvas.clientWidth) return;
    const context = prepared(canvas, canvas);
    context.drawImage(back, 0, 0, canvas.clientWidth, canvas.clientHeight);
    const ground = colour("--panel");
    const films = player.pair ? player.pair.films.filter((film) => film.path) : [];
    const shown = films.filter((film) => !hiddenPaths.has(film.method));
    for (const film of shown) {
      for (const [width, ink] of [[6, ground], [2.5, colour(series(film.method))]]) {
        context.lineWidth = width;
        context.strokeStyle = ink;
        context.setLineDash(film.method === "linear" ? [7, 6] : []);
        context.lineJoin = context.lineCap = "round";
        context.beginPath();
        for (const row of film.path) context.lineTo(...place(row));
        context.stroke();
      }
    }
    context.setLineDash([]);
    const dot = (x, y, radius, ink) => {
      context.beginPath();
      context.arc(x, y, radius, 0, 7);
      context.fillStyle = ink;
      context.strokeStyle = ground;
      context.lineWidth = 2;
      context.fill();
      context.stroke();
    };
    const stops = (player.pair && player.pair.stops) || [];
    for (const stop of stops) dot(...place(stop), 5, colour("--ink"));
    for (const film of shown)
      dot(...place(film.path[frameOf(film)]), 7.5, colour(series(film.method)));
    context.font = "600 13px system-ui, sans-serif";
    context.textAlign = "center";
    ((player.pair && player.pair.names) || []).forEach((label, n) => {
      const name = label.length > 16 ? `${label.slice(0, 15)}\u2026` : label;
      const [x, y] = place(stops[n]);
      const above = y > 30 ? y - 13 : y + 24;
      const middle = clamp(x, 26, canvas.clientWidth - 26);
      context.lineWidth = 4;
      context.strokeStyle = ground;
      context.strokeText(name, middle, above);
      context.fillStyle = colour("--ink");
      context.fillText(name, middle, above);
    });
    if (view.hovered >= 0) {
      context.beginPath();
      context.arc(placed[2 * view.hovered], placed[2 * view.hovered + 1], 7, 0, 7);
      context.strokeStyle = colour("--ink");
      context.lineWidth = 2;
      context.stroke();
    }
  }

  function redraw() {
    if (!canvas.clientWidth) return; // a page may be opened in a window without size
    drawBack();
    draw();
  }

  function describe(point) {
    const lines = [element("b", {}, `image ${numbers[point]}`)];
    if (map.files.length) lines.push(element("span", {}, map.files[point]));
    for (const factor of map.factors) {
      const value = factor.values[point];
      const text = factor.labels[value] || (Number.isNaN(value) ? "not known" : short(value));
      lines.push(element("span", {}, `${factor.name}: ${text}`));
    }
    if (!pictured.has(point)) return [...lines, element("i", {}, "no thumbnail of this one")];
    const { width, height } = map.thumbnails;
    const large = Math.max(1, Math.round(128 / Math.max(width, height)));
    const picture = element("canvas", { width: large * width, height: large * height });
    const context = picture.getContext("2d");
    context.imageSmoothingEnabled = false;
    drawCell(context, map.thumbnails, pictured.get(point), 0, 0, picture.width, picture.height);
    return [picture, ...lines];
  }

  function hover(event) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let [nearest, least] = [-1, event.pointerType === "touch" ? 900 : 225];
    for (let point = 0; point < map.count; point++) {
      const away = (placed[2 * point] - x) ** 2 + (placed[2 * point + 1] - y) ** 2;
      if (away < least) [nearest, least] = [point, away];
    }
    view.hovered = nearest;
    if (nearest < 0) hideTip();
    else showTip(event, ...describe(nearest));
    draw();
  }

  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const wanted = clamp(view.zoom * factor, 1, 40);
    const ratio = wanted / view.zoom;
    view.x = (view.x + canvas.clientWidth / 2 - x) * ratio - canvas.clientWidth / 2 + x;
    view.y = (view.y + canvas.clientHeight / 2 - y) * ratio - canvas.clientHeight / 2 + y;
    view.zoom = wanted;
    if (wanted === 1) view.x = view.y = 0;
    canvas.classList.toggle("zoomed", wanted > 1); // a finger then moves the map, not the page
    redraw();
  }

  let grabbed = null;
  canvas.addEventListener("pointerdown", (event) => {
    grabbed = view.zoom > 1 ? [event.clientX - view.x, event.clientY - view.y] : null;
    if (grabbed) canvas.setPointerCapture(event.pointerId);
    hover(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!grabbed) return hover(event);
    [view.x, view.y] = [event.clientX - grabbed[0], event.clientY - grabbed[1]];
    hideTip();
    redraw();
  });
  canvas.addEventListener("pointerup", () => (grabbed = null));
  canvas.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "touch") return; // what was tapped stays
    view.hovered = -1;
    hideTip();
    draw();
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return; // the wheel alone moves the page
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 200), event.offsetX, event.offsetY);
  }, { passive: false });
  get("closer").onclick = () => zoom(1.6);
  get("farther").onclick = () => zoom(1 / 1.6);

  const colours = get("colours");
  colourings.forEach((one, n) => {
    colours.append(element("option", { value: n }, one ? one.name : "nothing"));
  });
  function recolour() {
    view.colouring = Number(colours.value);
    drawLegend(colourings[view.colouring]);
    redraw();
  }
  colours.onchange = recolour;
  get("edges").onchange = get("pictures").onchange = redraw;
  get("edges").parentElement.hidden = !map.edges;
  ["across", "up"].forEach((id, side) => {
    map.axes.forEach((name, axis) => get(id).append(element("option", { value: axis }, name)));
    get(id).value = side;
    get(id).parentElement.hidden = map.axes.length < 3;
    get(id).onchange = () => {
      view.axes[side] = Number(get(id).value);
      zoom(1e-9);
    };
  });
  unpackSheet(map.thumbnails, redraw);
  new ResizeObserver(redraw).observe(canvas);
  recolour();
  return { draw, redraw, placeOf: (point) => [...placed.subarray(2 * point, 2 * point + 2)] };
}

// A canvas with as many dots as the screen has where `like` is shown.
function prepared(canvas, like) {
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(like.clientWidth * ratio);
  canvas.height = Math.round(like.clientHeight * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return context;
}

function viridis(share) {
  const along = clamp(share, 0, 1) * (VIRIDIS.length - 1);
  const n = Math.min(Math.floor(along), VIRIDIS.length - 2);
  const mixed = VIRIDIS[n].map((one, i) => one + (along - n) * (VIRIDIS[n + 1][i] - one));
  return `rgb(${mixed.map(Math.round).join()})`;
}

const labelColour = (n, many) =>
  many <= LABELS.length ? LABELS[n] : `hsl(${(n * 360) / many} 65% ${n % 2 ? 45 : 62}%)`;

function range(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

function scaleOf(factor) {
  if (factor.labels.length)
    return (value) => (value >= 0 ? labelColour(value, factor.labels.length) : UNKNOWN);
  const [low, high] = range(factor.values);
  const [start, span] = [low, factor.period || high - low || 1];
  const ink = factor.period ? (share) => `hsl(${share * 360} 70% 55%)` : viridis;
  return (value) => (Number.isNaN(value) ? UNKNOWN : ink((value - start) / span));
}

function drawLegend(factor) {
  const legend = get("legend");
  legend.replaceChildren();
  if (!factor) return;
  if (factor.labels.length) {
    factor.labels.slice(0, MOST_NAMED).forEach((label, n) => {
      const swatch = element("i", { className: "swatch" });
      swatch.style.background = labelColour(n, factor.labels.length);
      legend.append(element("span", {}, swatch, label));
    });
    const others = factor.labels.length - MOST_NAMED;
    if (others > 0) legend.append(`and ${others} more`);
    return;
  }
  const [low, high] = range(factor.values);
  const inks = scaleOf(factor);
  const bar = element("i", { className: "scale" });
  const stops = Array.from({ length: 13 }, (_, n) => inks(low + (n / 12) * (high - low)));
  bar.style.background = `linear-gradient(90deg, ${stops.join()})`;
  legend.append(element("span", {}, short(low)), bar, element("span", {}, short(high)));
}
