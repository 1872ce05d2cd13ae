// What the page does by itself: playing in step, frame by frame, walking, hovering, choosing stops.
// Everything that needs the model is asked of the server; the newest request alone counts.
(() => {
  const get = (id) => document.getElementById(id);
  const set = (id, props) => window.dash_clientside.set_props(id, props);
  const sides = ["left", "right"];
  const state = {
    film: null, frame: 0, playing: true, speed: 1, stops: [], adding: false, walking: false,
    view: "", shown: { left: "linear", right: "surfing" }, pictures: {}, started: 0,
  };

  function say(text, kind = "") { set("message", { children: text, className: kind }); }

  async function ask(url, options) {
    const answer = await fetch(url, options);
    if (answer.headers.get("Content-Type") === "image/png") return answer.blob();
    const content = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
    if (content.error) throw new Error(content.error);
    return content;
  }

  // Runs one call at a time; of those that came meanwhile, the last one alone.
  function newest(work) {
    let busy = false, next = null;
    return async (...given) => {
      next = given;
      if (busy) return;
      busy = true;
      while (next) {
        const now = next;
        next = null;
        try { await work(...now); } catch (error) { say(error.message, "error"); }
      }
      busy = false;
    };
  }

  // ---- The map

  const graph = () => document.querySelector("#map .js-plotly-plot");
  const trace = (uid) => (graph()?.data || []).findIndex((one) => one.uid === uid);
  const solid = () => Boolean(graph()?._fullLayout?.scene);

  function drawPaths(traces) {
    const drawn = graph();
    if (!drawn?.data) return;
    const known = traces.filter((one) => trace(one.uid) >= 0);
    const update = { x: [], y: [], z: [], text: [] };
    for (const one of known) for (const name of Object.keys(update)) update[name].push(one[name]);
    if (!solid()) delete update.z;
    window.Plotly.restyle(drawn, update, known.map((one) => trace(one.uid)));
  }

  let moved = 0;
  function mark() {
    const drawn = graph(), axes = drawn?._fullLayout;
    for (const method of ["linear", "surfing"]) {
      const dot = get(`dot-${method}`), line = drawn?.data?.[trace(`path-${method}`)];
      const here = line?.x?.length > state.frame && axes?.xaxis?.l2p && !solid();
      dot.style.display = here ? "block" : "none";
      if (!here) continue;
      dot.style.left = `${axes.xaxis._offset + axes.xaxis.l2p(line.x[state.frame])}px`;
      dot.style.top = `${axes.yaxis._offset + axes.yaxis.l2p(line.y[state.frame])}px`;
    }
    const now = trace("now"), line = drawn?.data?.[trace("path-surfing")];
    if (now >= 0 && line?.x?.length > state.frame && performance.now() - moved > 150) {
      moved = performance.now();
      const place = (name) => [[line[name][state.frame]]];
      window.Plotly.restyle(drawn, { x: place("x"), y: place("y"), z: place("z") }, [now]);
    }
  }

  // ---- Stops

  const join = (stops) => stops.join("; ") + (stops.some((one) => one.includes(",")) && stops.length === 1 ? ";" : "");
  function setStops(stops) { set("stops", { value: join(stops) }); }

  function addStop(stop, more) {
    const begun = more || state.adding ? state.stops : state.stops.length === 1 ? state.stops : [];
    setStops([...begun, stop]);
  }

  function toggle(name, button) {
    state[name] = !state[name];
    get(button).classList.toggle("on", state[name]);
    get("place").classList.toggle("walking", state.walking);
    hide();
  }

  async function clicked(event) {
    try {
      if (solid()) return addStop(numberOf(event.points[0]), event.event?.shiftKey);
      const axis = graph()._fullLayout.xaxis;
      const reach = 10 * Math.abs(axis.p2l(1) - axis.p2l(0));
      const place = { view: state.view, x: event.xvals[0], y: event.yvals[0], reach };
      const found = await ask(`place?${new URLSearchParams(place)}`);
      addStop(found.stop, event.event?.shiftKey);
    } catch (error) { say(error.message, "error"); }
  }

  const numberOf = (point) => String(point.data.customdata ? point.customdata : point.pointNumber);

  // ---- The image under the pointer

  const card = () => get("look");
  function hide() { card().style.display = "none"; }

  function place(event) {
    const box = get("place").getBoundingClientRect(), mine = card();
    mine.style.display = "flex";
    const x = event.clientX - box.left, y = event.clientY - box.top;
    const left = x + 18 + mine.offsetWidth > box.width ? x - mine.offsetWidth - 18 : x + 18;
    mine.style.left = `${Math.max(4, left)}px`;
    mine.style.top = `${Math.max(4, Math.min(y + 18, box.height - mine.offsetHeight - 4))}px`;
  }

  let hovered = null;
  const look = newest(async (number, event) => {
    const found = await ask(`look?number=${number}`);
    if (hovered !== number) return;
    const pictures = Object.entries(found.pictures).map(([name, url]) => {
      const box = document.createElement("figure"), image = new Image(), said = document.createElement("figcaption");
      image.src = url;
      said.textContent = name;
      box.append(image, said);
      return box;
    });
    const lines = document.createElement("p");
    lines.textContent = found.lines.join("\n");
    card().replaceChildren(...pictures, lines);
    place(event);
  });

  const walk = newest(async (place_, event) => {
    const blob = await ask(`decode?${new URLSearchParams(place_)}`);
    if (!state.walking) return;
    let image = card().querySelector("img.walk");
    if (!image) {
      image = new Image();
      image.className = "walk";
      card().replaceChildren(image);
    }
    const old = image.src;
    image.src = URL.createObjectURL(blob);
    await image.decode().catch(() => {});
    URL.revokeObjectURL(old);
    place(event);
    document.body.dataset.walked = Number(document.body.dataset.walked || 0) + 1;
  });

  function walked(event) {
    if (!state.walking) return;
    if (solid()) return say("walking needs a view of two dimensions", "error");
    const axes = graph()._fullLayout, box = get("place").getBoundingClientRect();
    const x = axes.xaxis.p2l(event.clientX - box.left - axes.xaxis._offset);
    const y = axes.yaxis.p2l(event.clientY - box.top - axes.yaxis._offset);
    walk({ view: state.view, x, y }, event);
  }

  // ---- Playing

  const reel = (side) => state.film?.reels?.find((one) => one.method === state.shown[side]);
  const count = () => state.film?.reels?.[0]?.count || 0;

  function paint(canvas, sheet, picture, number) {
    const [width, height] = state.film.size;
    const known = Boolean(sheet && picture?.complete && width);
    canvas.style.visibility = known ? "visible" : "hidden";
    if (!known) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const column = number % sheet.columns, row = Math.floor(number / sheet.columns);
    canvas.getContext("2d").drawImage(picture, column * width, row * height, width, height, 0, 0, width, height);
  }

  function showFrame(frame) {
    if (!count()) return;
    state.frame = (frame + count()) % count();
    for (const side of sides) {
      const one = reel(side);
      if (!one) continue;
      paint(get(`screen-${side}`), one.sheet, state.pictures[one.method], state.frame);
      paint(get(`near-${side}`), state.film.beside, state.pictures.beside, one.places[state.frame]);
      get(`said-${side}`).textContent = `nearest: ${one.nearest[state.frame]}\nerror ${one.errors[state.frame].toPrecision(3)}`;
    }
    const slider = get("scrub").firstChild;
    slider.value = state.frame;
    slider.style.setProperty("--done", `${(100 * state.frame) / Math.max(1, count() - 1)}%`);
    get("frame").textContent = `${state.frame + 1} / ${count()}`;
    for (const line of document.querySelectorAll("#curves .now")) {
      line.setAttribute("x1", at(state.frame)), line.setAttribute("x2", at(state.frame));
    }
    mark();
  }

  function play(on) {
    state.playing = on;
    get("play").textContent = on ? "Pause" : "Play";
  }

  let last = 0;
  function tick(now) {
    requestAnimationFrame(tick);
    const each = (state.film?.ms || 60) / state.speed;
    if (now - last < each) return;
    last = now - last > 2 * each ? now : last + each;
    if (state.playing && count()) showFrame(state.frame + 1);
    else mark();
  }

  function go(frame) {
    play(false);
    showFrame(frame);
  }

  // ---- Curves: 300 x 56 units, a line for each method

  const at = (frame) => 2 + (296 * frame) / Math.max(1, count() - 1);
  function curve(name, field) {
    const tag = (kind, given) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
      for (const [key, value] of Object.entries(given)) made.setAttribute(key, value);
      return made;
    };
    const reels = state.film.reels, most = Math.max(...reels.flatMap((one) => one[field]), 1e-9);
    const drawing = tag("svg", { viewBox: "0 0 300 56", preserveAspectRatio: "none" });
    for (const one of reels) {
      const shift = field === "steps" ? 0.5 : 0;
      const points = one[field].map((value, n) => `${at(n + shift)},${53 - (50 * value) / most}`);
      drawing.append(tag("polyline", { points: points.join(" "), class: one.method }));
    }
    drawing.append(tag("line", { class: "now", y1: 0, y2: 56, x1: 0, x2: 0 }));
    drawing.addEventListener("click", (event) => {
      const box = drawing.getBoundingClientRect();
      const share = (300 * (event.clientX - box.left)) / box.width - 2;
      go(Math.max(0, Math.min(count() - 1, Math.round((share / 296) * (count() - 1)))));
    });
    const box = document.createElement("figure"), said = document.createElement("figcaption");
    said.textContent = `${name}, up to ${most.toPrecision(3)}`;
    box.append(said, drawing);
    return box;
  }

  // ---- Files

  async function upload(file) {
    if (!file) return;
    if (file.size > 20e6) return say("files may have 20 MB at most", "error");
    say(`reading ${file.name} ...`);
    try {
      const found = await ask(`upload?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
      say("");
      addStop(found.stop, true);
    } catch (error) { say(error.message, "error"); }
  }

  function picker(id, accept, use) {
    const input = Object.assign(document.createElement("input"), { type: "file", accept, id, hidden: true });
    input.addEventListener("change", () => { use(input.files[0]); input.value = ""; });
    document.body.append(input);
    return () => input.click();
  }

  async function load(file) {
    if (file.size > 1e6) return say("a list of stops is shorter than 1 MB", "error");
    setStops((await file.text()).split(/[\n;]|,(?![^\n;]*code:)(?<!code:[^\n;]*)/).map((one) => one.trim()).filter(Boolean));
  }

  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`${state.stops.join("\n")}\n`], { type: "text/plain" }));
    link.download = "anchors.txt";
    link.click();
  }

  // ---- Beginning

  function setUp() {
    const slider = Object.assign(document.createElement("input"), { type: "range", min: 0, max: 0, value: 0 });
    slider.setAttribute("aria-label", "frame");
    slider.addEventListener("input", () => go(Number(slider.value)));
    get("scrub").append(slider);
    const openOwn = picker("own-file", "image/*", upload), openList = picker("list-file", ".txt", load);
    const actions = {
      play: () => play(!state.playing), clear: () => setStops([]), add: () => toggle("adding", "add"),
      walk: () => toggle("walking", "walk"), own: openOwn, load: openList, save,
      copy: () => navigator.clipboard.writeText(get("command").textContent).then(() => say("copied", "good"), () => say("select the line and copy it")),
    };
    for (const [id, action] of Object.entries(actions)) get(id)?.addEventListener("click", action);
    const veil = get("veil");
    veil.addEventListener("pointerdown", (event) => { veil.setPointerCapture(event.pointerId); walked(event); });
    veil.addEventListener("pointermove", walked);
    get("place").addEventListener("pointerleave", hide);
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => { event.preventDefault(); upload(event.dataTransfer.files[0]); });
    document.addEventListener("keydown", (event) => {
      if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && event.target.type !== "range") return;
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const keys = { " ": actions.play, ArrowLeft: () => go(state.frame - 1), ArrowRight: () => go(state.frame + 1), w: actions.walk, Escape: actions.clear };
      const action = keys[event.key];
      if (!action || (event.key === " " && event.target.tagName === "BUTTON")) return;
      event.preventDefault();
      action();
    });
    setInterval(() => {
      const drawn = graph();
      if (!drawn?.on || drawn.ours) return;
      drawn.ours = true;
      drawn.on("plotly_click", clicked);
      drawn.on("plotly_hover", (event) => {
        const point = event.points.find((one) => one.data.uid === "points");
        hovered = point ? numberOf(point) : null;
        if (point && event.event.pointerType !== "touch") look(hovered, event.event); else hide();
      });
      drawn.on("plotly_unhover", () => { hovered = null; hide(); });
      document.body.dataset.ready = "yes";
    }, 100);
    requestAnimationFrame(tick);
  }

  const picture = (url) => Object.assign(new Image(), { src: url });
  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.explorer = {
    show(film) {
      if (!get("scrub").firstChild) setUp();
      state.film = film;
      if (film) drawPaths(film.traces);
      get("stage").classList.toggle("empty", !count());
      if (!count()) return;
      state.pictures = {};
      for (const one of film.reels) if (one.sheet) state.pictures[one.method] = picture(one.sheet.url);
      if (film.beside) state.pictures.beside = picture(film.beside.url);
      get("scrub").firstChild.max = count() - 1;
      get("curves").replaceChildren(curve(film.errorName, "errors"), curve("step from frame to frame", "steps"));
      play(true);
      showFrame(0);
      Promise.all(Object.values(state.pictures).map((one) => one.decode())).then(() => {
        if (state.film !== film) return;
        showFrame(0);
        document.body.dataset.shown = Number(document.body.dataset.shown || 0) + 1;
      });
    },
    choose(text) {
      state.stops = (text || "").split(text?.includes(";") ? ";" : ",").map((one) => one.trim()).filter(Boolean);
    },
    see(view) { state.view = view; },
    hasten(speed) { state.speed = Number(speed) || 1; },
    turn(method) { state.shown.left = method; showFrame(state.frame); },
    turnRight(method) { state.shown.right = method; showFrame(state.frame); },
  };
})();
