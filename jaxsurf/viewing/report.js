"use strict";
/* The player and the plots of scores of `report.html`; `latent_map.js` stands before it.

The page gives its data as JSON in the element #data: `map` (images as points, with a sheet of
thumbnails), `pairs` (the films of each method as sheets of frames, with figures and codes of each
frame) and `scores` (a panel a figure). Any of them may be null or empty. Nothing is loaded, and all
texts go into the page as texts. */

const data = JSON.parse(document.getElementById("data").textContent);
const get = (id) => document.getElementById(id);
const svgSpace = get("errors").namespaceURI;

// --- Small tools ---

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function drawn(name, attributes, text = "") {
  const made = document.createElementNS(svgSpace, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function unpack(text, Kind) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Kind(bytes.buffer); // the page is little-endian, as all browsers' machines are
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const short = (value) => (value === null ? "–" : String(Number(value.toPrecision(3))));

// Methods have one colour all over the page, in the order in which they are first named.
const methods = [];
for (const panel of data.scores ? data.scores.panels : [])
  for (const row of panel.rows) if (!methods.includes(row.method)) methods.push(row.method);
for (const pair of data.pairs)
  for (const film of pair.films) if (!methods.includes(film.method)) methods.push(film.method);
const series = (method) => `--series-${(methods.indexOf(method) % 7) + 1}`;

// Round numbers from low to high, about four of them.
function ticks(low, high, logarithmic) {
  const found = [];
  if (logarithmic) {
    const each = Math.max(1, Math.ceil(Math.log10(high / low) / 5));
    for (let n = Math.ceil(Math.log10(low)); 10 ** n <= high; n += each) found.push(10 ** n);
    return found;
  }
  const rough = (high - low) / 4 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((size) => size >= rough);
  for (let n = Math.ceil(low / step); n * step <= high * (1 + 1e-9); n++) found.push(n * step);
  return found;
}

// Draws a cell of a sheet; nothing before the browser has unpacked it.
function drawCell(context, sheet, place, x, y, width, height) {
  if (!sheet.image || !sheet.image.naturalWidth) return;
  const [wide, high] = sheet.cell;
  const left = (place % sheet.across) * wide;
  const top = Math.floor(place / sheet.across) * high;
  context.drawImage(sheet.image, left, top, sheet.width, sheet.height, x, y, width, height);
}

function unpackSheet(sheet, then) {
  if (sheet.image) return;
  sheet.image = new Image();
  sheet.image.onload = then;
  sheet.image.src = sheet.src;
}

// One box that says what lies under the pointer.
const tip = get("tip");
function showTip(event, ...content) {
  tip.replaceChildren(...content);
  tip.hidden = false;
  const [x, y] = [event.clientX, event.clientY];
  const right = x + tip.offsetWidth + 20 < innerWidth;
  const left = right ? x + 14 : Math.max(4, x - tip.offsetWidth - 14);
  tip.style.left = `${left}px`;
  tip.style.top = `${clamp(y - tip.offsetHeight / 2, 4, innerHeight - tip.offsetHeight - 4)}px`;
}
const hideTip = () => (tip.hidden = true);
addEventListener("scroll", hideTip, { passive: true });
addEventListener("pointerdown", hideTip, { capture: true }); // a tap elsewhere

// --- The state of the player: a pair, and a frame of it ---

const player = { pair: data.pairs[0] || null, frame: 0, playing: false, forward: true };
const countFrames = () =>
  player.pair ? Math.max(1, ...player.pair.films.map((film) => film.numbers.length)) : 1;
const frameOf = (film) => Math.min(player.frame, film.numbers.length - 1);
const hiddenPaths = new Set();

// --- The player ---

document.documentElement.classList.add("js");
get("player").hidden = !data.map && !player.pair; // before anything asks for sizes
const map = data.map ? makeMap(data.map) : null;
let curves = [];

function choosePair(number) {
  player.pair = data.pairs[number];
  player.frame = 0;
  document.querySelectorAll(".pair").forEach((one, n) => {
    one.classList.toggle("chosen", n === number);
  });
  get("films").replaceChildren(...player.pair.films.map((film) => {
    const { width, height, opacity } = film.sheet;
    const enlarged = Math.max(1, Math.round(480 / width)); // sharp on any screen
    film.canvas = element("canvas", {
      width: enlarged * width,
      height: enlarged * height,
      className: opacity ? "clear" : "",
      role: "img",
      ariaLabel: `${film.method}, animation of ${player.pair.label}`,
    });
    film.canvas.style.maxWidth = `${Math.max(3 * width, 64)}px`;
    film.value = element("span", { className: "value" });
    unpackSheet(film.sheet, showFrame);
    return element("figure", {}, film.canvas, element("figcaption", {}, nameOf(film), film.value));
  }));
  if (countFrames() < 2) play(false);
  get("scrub").max = countFrames() - 1;
  curves = [makeCurve("errors", "errors"), makeCurve("steps", "steps")];
  showFrame();
}

// The name of a method; where it has a path, a button that hides this and shows it again.
function nameOf(film) {
  const swatch = element("i", { className: "swatch" });
  swatch.style.background = `var(${series(film.method)})`;
  if (!film.path || !map) return element("span", { className: "method" }, swatch, film.method);
  const button = element("button", { type: "button", className: "method" }, swatch, film.method);
  button.title = "show its path on the map, or hide it";
  const mark = () => button.setAttribute("aria-pressed", !hiddenPaths.has(film.method));
  button.onclick = () => {
    if (!hiddenPaths.delete(film.method)) hiddenPaths.add(film.method);
    mark();
    map.draw();
  };
  mark();
  return button;
}

function showFrame() {
  for (const film of player.pair.films) {
    const context = film.canvas.getContext("2d");
    const { width, height } = film.canvas;
    context.imageSmoothingEnabled = false;
    context.clearRect(0, 0, width, height);
    drawCell(context, film.sheet, frameOf(film), 0, 0, width, height);
    film.value.textContent = film.errors.length ? `difference ${short(film.errors[frameOf(film)])}` : "";
  }
  get("scrub").value = player.frame;
  const [film] = player.pair.films;
  if (film) get("frame").textContent = `${film.numbers[frameOf(film)] + 1} / ${film.total}`;
  for (const curve of curves) curve();
  if (map) map.draw();
}

function goTo(frame) {
  player.frame = clamp(Math.round(frame), 0, countFrames() - 1);
  showFrame();
}

function play(playing) {
  player.playing = playing && countFrames() > 1;
  get("play").textContent = player.playing ? "❚❚" : "▶";
  get("play").ariaLabel = player.playing ? "pause" : "play";
  if (player.playing) requestAnimationFrame((now) => tick(now, now));
}

function tick(now, shown) {
  if (!player.playing) return;
  const each = player.pair.films[0].frameMs / Number(get("speed").value);
  const due = Math.floor((now - shown) / each);
  if (due > 0) {
    step(Math.min(due, countFrames()));
    shown = now - ((now - shown) % each);
  }
  requestAnimationFrame((then) => tick(then, shown));
}

// So many frames on: from the last to the first again, or there and back.
function step(number) {
  const last = countFrames() - 1;
  for (; number > 0; number--) {
    if (!get("back").checked) player.forward = true;
    else if (player.frame === last) player.forward = false;
    else if (player.frame === 0) player.forward = true;
    player.frame += player.forward ? 1 : -1;
    if (player.frame > last) player.frame = 0;
  }
  showFrame();
}

// A figure of each frame by method; returns what marks the frame that is shown.
function makeCurve(id, figure) {
  const svg = get(id);
  const films = player.pair.films.filter((film) => film[figure].length);
  svg.parentElement.hidden = !films.length;
  if (!films.length) return () => {};
  const [width, height, left, bottom] = [svg.clientWidth || 300, svg.clientHeight || 90, 42, 14];
  const from = figure === "steps" ? 1 : 0; // the first frame has none before it
  const most = Math.max(...films.flatMap((film) => film[figure])) || 1;
  const last = countFrames() - 1 || 1;
  const x = (frame) => left + (frame / last) * (width - left - 8);
  const y = (value) => height - bottom - (value / (1.05 * most)) * (height - bottom - 4);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  for (const value of ticks(0, most).filter((_, n, all) => n % 2 === 0 || all.length < 4)) {
    const at = y(value);
    svg.append(drawn("line", { class: "grid", x1: left, x2: width - 8, y1: at, y2: at }));
    svg.append(drawn("text", { class: "up", x: left - 5, y: at + 3.5 }, short(value)));
  }
  const dots = films.map((film) => {
    const dashes = film.method === "linear" ? "; stroke-dasharray: 6 4" : "";
    const ink = `stroke: var(${series(film.method)})${dashes}`;
    const points = film[figure].slice(from).map((value, n) => `${x(n + from)},${y(value)}`);
    svg.append(drawn("polyline", { points: points.join(" "), style: ink }));
    return drawn("circle", { r: 4, style: `fill: var(${series(film.method)})` });
  });
  const line = drawn("line", { class: "now", y1: 2, y2: height - bottom });
  svg.append(line, ...dots);
  const jump = (event) => {
    const box = svg.getBoundingClientRect();
    goTo((((event.clientX - box.left) * width) / box.width - left) / (width - left - 8) * last);
  };
  svg.onpointerdown = (event) => {
    svg.setPointerCapture(event.pointerId);
    play(false);
    jump(event);
  };
  svg.onpointermove = (event) => event.buttons && jump(event);
  return () => {
    line.setAttribute("x1", x(player.frame));
    line.setAttribute("x2", x(player.frame));
    films.forEach((film, n) => {
      const frame = Math.max(from, frameOf(film));
      dots[n].setAttribute("cx", x(frame));
      dots[n].setAttribute("cy", y(film[figure][frame]));
    });
  };
}

function startPlayer() {
  data.pairs.forEach((pair, n) => get("pair").append(element("option", { value: n }, pair.label)));
  get("pair").onchange = () => choosePair(Number(get("pair").value));
  get("play").onclick = () => play(!player.playing);
  get("scrub").oninput = () => {
    play(false);
    goTo(Number(get("scrub").value));
  };
  const by = (frames) => () => {
    play(false);
    goTo(player.frame + frames);
  };
  get("previous").onclick = by(-1);
  get("next").onclick = by(1);
  const keys = { ArrowLeft: by(-1), ArrowRight: by(1), Home: by(-1e9), End: by(1e9) };
  keys[" "] = () => play(!player.playing);
  get("player").addEventListener("keydown", (event) => {
    // Controls have keys of their own.
    const own = event.key === " " ? "select, button, [type=checkbox]" : "select, input";
    const other = event.ctrlKey || event.altKey || event.metaKey || !keys[event.key];
    if (other || event.target.closest(own)) return;
    event.preventDefault();
    keys[event.key]();
  });
  get("films").onclick = () => play(!player.playing);
  choosePair(0);
  play(false);
}

// --- Scores: a panel a figure, a row a method, a dot a pair ---

function drawScores() {
  const plots = get("intervals");
  plots.replaceChildren(...data.scores.panels.map((panel) => {
    const svg = drawn("svg", { role: "img", "aria-label": `${panel.name}: means and intervals` });
    const aside = panel.question === "aside";
    const title = element("h4", {}, aside ? panel.name : `${panel.question}? ${panel.name}`);
    title.append(element("small", {}, panel.unit));
    return element("figure", { className: aside ? "aside" : "" }, title, svg);
  }));
  [...plots.children].forEach((figure, n) => drawPanel(figure.lastChild, data.scores.panels[n]));
}

function drawPanel(svg, panel) {
  const [width, left, row] = [svg.clientWidth || 320, 84, 38];
  const height = panel.rows.length * row + 24;
  const each = panel.rows.flatMap((one) => one.each.filter((value) => value !== null));
  const all = [...each, ...panel.rows.flatMap((one) => one.interval)].sort((a, b) => a - b);
  const [low, high] = [all[0], all[all.length - 1]];
  // A few large values would push all others into a corner.
  const logarithmic = low > 0 && high > 30 * all[Math.floor(all.length / 2)];
  const bend = logarithmic ? Math.log10 : (value) => value;
  const first = logarithmic || low > high / 2 ? low : Math.min(0, low);
  const start = bend(first);
  const x = (value) =>
    left + ((bend(value) - start) / (bend(high) - start || 1)) * (width - left - 12);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.style.height = `${height}px`;
  for (const value of ticks(first, high, logarithmic)) {
    const [at, end] = [x(value), height - 20];
    svg.append(drawn("line", { class: "grid", x1: at, x2: at, y1: 0, y2: end }));
    svg.append(drawn("text", { class: "across", x: at, y: height - 6 }, short(value)));
  }
  panel.rows.forEach((one, n) => {
    const middle = (n + 0.5) * row;
    const ink = one.floor ? "var(--quiet)" : `var(${series(one.method)})`;
    svg.append(drawn("text", { class: "name", x: 0, y: middle + 4 }, one.label));
    one.each.forEach((value, pair) => {
      if (value === null) return;
      // Up and down by the golden ratio: dots of equal values lie apart, the same every time.
      const cy = middle + (((pair * 0.618) % 1) - 0.5) * (row - 14);
      const dot = drawn("circle", { class: "one", r: 2.5, cx: x(value), cy, style: `fill: ${ink}` });
      Object.assign(dot.dataset, { pair, row: n });
      svg.append(dot);
    });
    const [mean, from, to] = one.interval.map(x);
    const bar = { x: from, y: middle - 4, width: Math.max(1, to - from), height: 8, rx: 2 };
    svg.append(drawn("rect", { class: "interval", ...bar, style: `fill: ${ink}` }));
    const sides = { y1: middle - 9, y2: middle + 9 };
    svg.append(drawn("line", { class: "mean", x1: mean, x2: mean, ...sides }));
  });
  // The pair under the pointer, in all panels at once.
  let marked;
  const mark = (event) => {
    const { pair, row: at } = event.target.dataset;
    if (pair !== marked)
      for (const dot of document.querySelectorAll(".one"))
        dot.classList.toggle("same", dot.dataset.pair === pair);
    marked = pair;
    if (pair === undefined) return hideTip();
    const one = panel.rows[at];
    const value = element("span", {}, `${one.label}: ${panel.name} ${short(one.each[pair])}`);
    showTip(event, element("b", {}, data.scores.pairs[pair]), value);
  };
  svg.onpointermove = svg.onpointerdown = mark;
  svg.onpointerleave = (event) => {
    if (event.pointerType !== "touch") mark({ target: svg });
  };
}

// --- The start ---

if (player.pair) startPlayer();
if (data.scores) drawScores();
let width = innerWidth;
addEventListener("resize", () => {
  if (width === innerWidth) return; // a phone's bars come and go
  width = innerWidth;
  if (data.scores) drawScores();
  if (!player.pair) return;
  curves = [makeCurve("errors", "errors"), makeCurve("steps", "steps")];
  showFrame();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => map && map.redraw());
