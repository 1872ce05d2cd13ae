"use strict";
/* The latent map, the player and the plots of scores of `report.html`.

The page gives its data as JSON in the element #data: `map` (images as points, with a sheet of
thumbnails), `pairs` (the films of each method as sheets of frames, with figures and codes of each
frame) and `scores` (a panel a figure). Any of them may be null or empty. Nothing is loaded, and all
texts go into the page as texts. */
(() => {
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

  // --- The state of the player: a pair, and a frame of it ---

  const player = { pair: data.pairs[0] || null, frame: 0, playing: false, forward: true };
  const countFrames = () =>
    player.pair ? Math.max(1, ...player.pair.films.map((film) => film.numbers.length)) : 1;
  const frameOf = (film) => Math.min(player.frame, film.numbers.length - 1);
  const hiddenPaths = new Set();

  // --- The latent map ---

  function makeMap(map) {
    const canvas = get("map");
    const back = document.createElement("canvas"); // points and edges, which rarely change
    const coordinates = unpack(map.points, Float32Array);
    const numbers = map.numbers ? unpack(map.numbers, Uint32Array) : null;
    const numberOf = (point) => (numbers ? numbers[point] : point);
    const edges = map.edges ? unpack(map.edges, Uint32Array) : [];
    const pictured = new Map(Array.from(unpack(map.pictured, Uint32Array), (p, i) => [p, i]));
    const inOrder = { name: "order in the set", labels: [], period: 0 };
    inOrder.values = Float32Array.from({ length: map.count }, (_, point) => numberOf(point));
    for (const factor of map.factors) factor.values = unpack(factor.values, Float32Array);
    // Those that vary, the order of the set, and no colour at all.
    const varies = (factor) => factor.values.some((value) => value !== factor.values[0]);
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
        let [low, high] = [Infinity, -Infinity];
        for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
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
          context.lineJoin = context.lineCap = "round";
          context.beginPath();
          for (const row of film.path) context.lineTo(...place(row));
          context.stroke();
        }
      }
      const dot = (x, y, radius, ink) => {
        context.beginPath();
        context.arc(x, y, radius, 0, 7);
        context.fillStyle = ink;
        context.strokeStyle = ground;
        context.lineWidth = 2;
        context.fill();
        context.stroke();
      };
      for (const stop of (player.pair && player.pair.stops) || [])
        dot(...place(stop), 5, colour("--ink"));
      for (const film of shown)
        dot(...place(film.path[frameOf(film)]), 7.5, colour(series(film.method)));
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
      const lines = [element("b", {}, `image ${numberOf(point)}`)];
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
    canvas.addEventListener("pointerleave", () => {
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
    if (!map.edges) get("edges").parentElement.remove();
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
    return { draw, redraw };
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

  // Viridis for numbers, the circle of hues for those that come back, Okabe & Ito's for labels.
  const VIRIDIS = ["440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"]
    .map((hex) => [0, 2, 4].map((n) => parseInt(hex.slice(n, n + 2), 16)));
  const LABELS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8c8c8c"];
  const UNKNOWN = "#8888";

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
      factor.labels.forEach((label, n) => {
        const swatch = element("i", { className: "swatch" });
        swatch.style.background = labelColour(n, factor.labels.length);
        legend.append(element("span", {}, swatch, label));
      });
      return;
    }
    const [low, high] = range(factor.values);
    const inks = scaleOf(factor);
    const bar = element("i", { className: "scale" });
    const stops = Array.from({ length: 13 }, (_, n) => inks(low + (n / 12) * (high - low)));
    bar.style.background = `linear-gradient(90deg, ${stops.join()})`;
    legend.append(element("span", {}, short(low)), bar, element("span", {}, short(high)));
  }

  // --- The player ---

  document.documentElement.classList.add("js");
  get("player").hidden = !data.map && !player.pair; // before anything asks for sizes
  const map = data.map ? makeMap(data.map) : null;
  let curves = [];

  function choosePair(number) {
    player.pair = data.pairs[number];
    player.frame = 0;
    document.querySelectorAll(".pair").forEach((one, n) => one.classList.toggle("chosen", n === number));
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
      return element("figure", {}, film.canvas, element("figcaption", {}, name(film), film.value));
    }));
    get("scrub").max = countFrames() - 1;
    curves = [makeCurve("errors", "errors"), makeCurve("steps", "steps")];
    showFrame();
  }

  // The name of a method; where it has a path, a button that hides this and shows it again.
  function name(film) {
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
      film.value.textContent = film.errors.length ? short(film.errors[frameOf(film)]) : "";
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
    const [width, height, left, bottom] = [svg.clientWidth || 300, svg.clientHeight || 90, 34, 14];
    const from = figure === "steps" ? 1 : 0; // the first frame has none before it
    const most = Math.max(...films.flatMap((film) => film[figure])) || 1;
    const last = countFrames() - 1 || 1;
    const x = (frame) => left + (frame / last) * (width - left - 8);
    const y = (value) => height - bottom - (value / (1.05 * most)) * (height - bottom - 4);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren();
    for (const value of ticks(0, most).filter((_, n, all) => n % 2 === 0 || all.length < 4)) {
      svg.append(drawn("line", { class: "grid", x1: left, x2: width - 8, y1: y(value), y2: y(value) }));
      svg.append(drawn("text", { x: left - 5, y: y(value) + 3.5, "text-anchor": "end" }, short(value)));
    }
    const dots = films.map((film) => {
      const ink = `stroke: var(${series(film.method)})`;
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
      const own = event.target.closest("select, input") || (event.key === " " && event.target.closest("button"));
      if (own || !keys[event.key] || event.ctrlKey || event.altKey || event.metaKey) return;
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
      const svg = drawn("svg", { role: "img", "aria-label": `${panel.name}: means with 95 % intervals` });
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
      svg.append(drawn("text", { x: at, y: height - 6, "text-anchor": "middle" }, short(value)));
    }
    panel.rows.forEach((one, n) => {
      const middle = (n + 0.5) * row;
      const ink = one.floor ? "var(--quiet)" : `var(${series(one.method)})`;
      svg.append(drawn("text", { class: "name", x: 0, y: middle + 4 }, one.label));
      one.each.forEach((value, pair) => {
        if (value === null) return;
        // Up and down by the golden ratio: dots of equal values lie apart, the same every time.
        const cy = middle + (((pair * 0.618) % 1) - 0.5) * (row - 14);
        svg.append(drawn("circle", { class: "one", r: 2.5, cx: x(value), cy, style: `fill: ${ink}`, "data-pair": pair, "data-row": n }));
      });
      const [mean, from, to] = one.interval.map(x);
      const bar = { x: from, y: middle - 4, width: Math.max(1, to - from), height: 8, rx: 2 };
      svg.append(drawn("rect", { class: "interval", ...bar, style: `fill: ${ink}` }));
      svg.append(drawn("line", { class: "mean", x1: mean, x2: mean, y1: middle - 9, y2: middle + 9 }));
    });
    // The pair under the pointer, in all panels at once.
    const mark = (event) => {
      const { pair, row: at } = event.target.dataset;
      document.querySelectorAll(".one.same").forEach((dot) => dot.classList.remove("same"));
      if (pair === undefined) return hideTip();
      document.querySelectorAll(`.one[data-pair="${pair}"]`).forEach((dot) => dot.classList.add("same"));
      const one = panel.rows[at];
      const value = element("span", {}, `${one.label}: ${short(one.each[pair])} ${panel.unit}`);
      showTip(event, element("b", {}, data.scores.pairs[pair]), value);
    };
    svg.onpointermove = svg.onpointerdown = mark;
    svg.onpointerleave = () => mark({ target: { dataset: {} } });
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
})();
