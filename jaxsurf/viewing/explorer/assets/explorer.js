// What the page does by itself: playing in step, frame by frame, walking, hovering, choosing stops.
// What needs codes or the model is asked of the server; of several requests the newest counts.
(() => {
  const METHODS = ["linear", "surfing"], SIDES = ["left", "right"], MOST_BYTES = 20e6;
  const get = (id) => document.getElementById(id);
  const set = (id, props) => window.dash_clientside.set_props(id, props);
  const say = (text, kind = "") => set("message", { children: text, className: kind });
  const tell = (text) => set("told", { children: text, className: "good" });
  const select = () => { getSelection().selectAllChildren(get("command")); tell("press Ctrl-C to copy"); };
  const make = (tag, given = {}) => Object.assign(document.createElement(tag), given);
  const state = {
    film: null, frame: 0, playing: true, speed: 1, stops: [], adding: false, walking: false, view: "",
    shown: { left: "linear", right: "surfing" }, pictures: new Map(), hovered: null, settling: 0, moved: 0, begun: false,
  };
  // How often something was done, for tests.
  const count = (what) => { document.body.dataset[what] = Number(document.body.dataset[what] || 0) + 1; };
  async function ask(url, options) {
    const answer = await fetch(url, options);
    const content = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
    if (content.error) throw new Error(content.error);
    return content;
  }
  const reported = (work) => (...given) => work(...given).catch((error) => say(error.message, "error"));

  // One call at a time; of those that come meanwhile, the last one alone.
  function newest(work) {
    let busy = false, next = null;
    return async (...given) => {
      next = given;
      if (busy) return;
      for (busy = true; next; ) {
        const now = next; // what comes meanwhile takes its place
        next = null;
        await reported(work)(...now);
      }
      busy = false;
    };
  }

  // ---- The map
  const graph = () => document.querySelector("#map .js-plotly-plot");
  const trace = (uid) => (graph()?.data || []).findIndex((one) => one.uid === uid);
  const solid = () => Boolean(graph()?._fullLayout?.scene);
  const numberOf = (point) => String(point.data.customdata ? point.customdata : point.pointNumber);
  function drawPaths(traces) {
    const known = traces.filter((one) => trace(one.uid) >= 0);
    if (!known.length) return;
    const update = { "marker.color": known.map((one) => one.marker?.color), "marker.showscale": known.map((one) => one.marker?.showscale) };
    for (const name of solid() ? ["x", "y", "z", "text"] : ["x", "y", "text"]) update[name] = known.map((one) => one[name]);
    window.Plotly.restyle(graph(), update, known.map((one) => trace(one.uid)));
  }

  // Marks lie over the map: drawing it anew for each frame would take too long. Not so in space.
  function mark() {
    const drawn = graph(), { xaxis, yaxis } = drawn?._fullLayout || {};
    for (const method of METHODS) {
      const line = drawn?.data?.[trace(`path-${method}`)];
      const here = line?.x?.length > state.frame && !solid() && xaxis?.l2p;
      get(`dot-${method}`).style.display = here ? "block" : "none";
      if (!here) continue;
      get(`dot-${method}`).style.left = `${xaxis._offset + xaxis.l2p(line.x[state.frame])}px`;
      get(`dot-${method}`).style.top = `${yaxis._offset + yaxis.l2p(line.y[state.frame])}px`;
    }
    const line = drawn?.data?.[trace("path-surfing")], at = [trace("now")];
    if (at[0] < 0 || !(line?.x?.length > state.frame) || performance.now() - state.moved < 150) return;
    state.moved = performance.now();
    const [x, y, z] = ["x", "y", "z"].map((name) => [[line[name][state.frame]]]);
    window.Plotly.restyle(drawn, { x, y, z }, at);
  }

  // ---- Stops: semicolons part those that may have commas themselves
  const parts = (text) => text.split(/[;:=]/.test(text) ? ";" : ",").map((one) => one.trim()).filter(Boolean);
  const setStops = (stops) => set("stops", { value: stops.join("; ") });
  function addStop(stop, more) {
    setStops([...(more || state.adding || state.stops.length === 1 ? state.stops : []), stop]);
  }
  // What plotly says of an empty place may be where the pointer was a moment before.
  function under({ clientX, clientY }) {
    const { xaxis, yaxis } = graph()._fullLayout, box = get("place").getBoundingClientRect();
    const x = xaxis.p2l(clientX - box.left - xaxis._offset);
    return { view: state.view, x, y: yaxis.p2l(clientY - box.top - yaxis._offset) };
  }
  const clicked = reported(async ({ points, event }) => {
    if (solid()) return addStop(numberOf(points[0]), event?.shiftKey);
    const axis = graph()._fullLayout.xaxis, reach = 10 * Math.abs(axis.p2l(1) - axis.p2l(0));
    const found = await ask(`place?${new URLSearchParams({ ...under(event), reach })}`);
    addStop(found.stop, event.shiftKey);
  });
  function toggle(name, button) {
    state[name] = !state[name];
    get(button).classList.toggle("on", state[name]);
    get("place").classList.toggle("walking", state.walking);
    hide();
  }

  // ---- The image under the pointer
  const hide = () => { get("look").style.display = "none"; };
  function showCard(event) {
    const box = get("place").getBoundingClientRect(), card = get("look");
    card.style.display = "flex";
    const x = event.clientX - box.left, y = event.clientY - box.top, width = card.offsetWidth;
    card.style.left = `${Math.max(4, x + 18 + width > box.width ? x - width - 18 : x + 18)}px`;
    card.style.top = `${Math.max(4, Math.min(y + 18, box.height - card.offsetHeight - 4))}px`;
  }
  const look = newest(async (number, event) => {
    const found = await ask(`look?number=${number}`);
    if (state.hovered !== number) return;
    const pictures = Object.entries(found.pictures).map(([name, src]) => {
      const box = make("figure");
      return box.append(make("img", { src, alt: name }), make("figcaption", { textContent: name })), box;
    });
    get("look").replaceChildren(...pictures, make("p", { textContent: found.lines.join("\n") }));
    showCard(event);
    count("looked");
  });
  const walk = newest(async (place, event) => {
    const { src } = await ask(`decode?${new URLSearchParams(place)}`);
    const image = make("img", { className: "walk", alt: "", src });
    await image.decode().catch(() => {});
    get("look").replaceChildren(image);
    showCard(event);
    count("walked");
  });
  function walked(event) {
    if (state.walking && solid()) say("a preview needs a view of two dimensions", "error");
    else if (state.walking) walk(under(event), event);
  }

  // ---- Playing
  const length = () => state.film?.reels?.[0]?.count || 0;
  function paint(canvas, sheet, number) {
    const picture = state.pictures.get(sheet), known = Boolean(picture?.complete);
    canvas.style.display = known ? "block" : "none";
    if (!known) return;
    const { width, height } = sheet;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const left = (number % sheet.across) * width, top = Math.floor(number / sheet.across) * height;
    canvas.getContext("2d").drawImage(picture, left, top, width, height, 0, 0, width, height);
  }
  function showFrame(frame) {
    if (!length()) return;
    const now = (state.frame = (frame + length()) % length());
    for (const side of SIDES) {
      const reel = state.film.reels.find((one) => one.method === state.shown[side]);
      if (!reel) continue;
      paint(get(`screen-${side}`), reel.sheet, now);
      paint(get(`near-${side}`), state.film.beside, reel.places[now]);
      get(`said-${side}`).textContent = `nearest: ${reel.nearest[now]}\nerror ${reel.errors[now].toPrecision(3)}`;
    }
    get("scrub").firstChild.value = now;
    get("frame").textContent = `${now + 1} / ${length()}`;
    document.querySelectorAll("#curves .now").forEach((line) => ["x1", "x2"].forEach((end) => line.setAttribute(end, across(now))));
    mark();
  }
  const play = (on) => { state.playing = on; get("play").textContent = on ? "Pause" : "Play"; };
  function go(frame) { play(false); showFrame(frame); }
  let last = 0;
  function tick(now) {
    requestAnimationFrame(tick);
    const each = (state.film?.ms || 60) / state.speed;
    if (now - last < each) return;
    last = now - last > 2 * each ? now : last + each;
    if (state.playing && length()) showFrame(state.frame + 1); else mark();
  }

  // ---- Curves of 300 x 56 units, a line for each method
  const across = (frame) => 2 + (296 * frame) / Math.max(1, length() - 1);
  function curve(name, field) {
    const most = Math.max(...state.film.reels.flatMap((one) => one[field]), 1e-9);
    const shift = field === "steps" ? 0.5 : 0; // a step lies between two frames
    const place = (value, n) => `${across(n + shift)},${53 - (50 * value) / most}`;
    const lines = state.film.reels.map((one) =>
      `<polyline class="${one.method}" points="${one[field].map(place).join(" ")}"/>`);
    const drawing = `<svg viewBox="0 0 300 56" preserveAspectRatio="none">${lines.join("")}<line class="now" y2="56"/></svg>`;
    const box = make("figure", { innerHTML: `<figcaption>${name}, up to ${most.toPrecision(3)}</figcaption>${drawing}` });
    box.lastChild.addEventListener("click", ({ clientX }) => {
      const { left, width } = box.lastChild.getBoundingClientRect();
      go(Math.min(length() - 1, Math.max(0, Math.round(((clientX - left) / width) * (length() - 1)))));
    });
    return box;
  }

  // ---- Files
  const text = (lines) => `data:text/plain,${encodeURIComponent(`${lines}\n`)}`;
  const upload = reported(async (file) => {
    if (!file) return;
    if (file.size > MOST_BYTES) throw new Error(`${file.name} has more than 20 MB`);
    say(`reading ${file.name} ...`);
    const found = await ask(`upload?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
    say("");
    addStop(found.stop, true);
  });
  const load = reported(async (file) => {
    if (file.size > 1e6) throw new Error("a list of stops is shorter than 1 MB");
    const lines = (await file.text()).split(/[\n;]/);
    setStops(parts(lines.map((one) => (/[:=]/.test(one) ? one : one.replaceAll(",", ";"))).join(";")));
  });
  function picker(id, accept, use) {
    const input = make("input", { type: "file", id, accept, hidden: true });
    input.addEventListener("change", () => use(input.files[0]).finally(() => { input.value = ""; }));
    document.body.append(input);
    return () => input.click();
  }

  // ---- Beginning
  function setUp() {
    state.begun = true;
    if (sessionStorage.stops) set("stops", { value: sessionStorage.stops }); // a reload goes on
    const slider = make("input", { type: "range", min: 0, max: 0, value: 0, ariaLabel: "frame" });
    slider.addEventListener("input", () => go(Number(slider.value)));
    get("scrub").append(slider);
    const actions = {
      play: () => play(!state.playing), clear: () => setStops([]),
      save: () => make("a", { href: text(state.stops.join("\n")), download: "anchors.txt" }).click(),
      copy: () => navigator.clipboard.writeText(get("command").textContent).then(() => tell("copied"), select),
      add: () => toggle("adding", "add"), walk: () => toggle("walking", "walk"),
      own: picker("own-file", "image/*", upload), load: picker("list-file", ".txt", load),
    };
    for (const [id, action] of Object.entries(actions)) get(id).addEventListener("click", action);
    const keys = {
      " ": actions.play, w: actions.walk, Escape: actions.clear,
      ArrowLeft: () => go(state.frame - 1), ArrowRight: () => go(state.frame + 1),
    };
    document.addEventListener("keydown", (event) => {
      const { tagName, type } = event.target, typing = /^(INPUT|TEXTAREA)$/.test(tagName);
      if ((typing && type !== "range") || event.ctrlKey || event.metaKey || event.altKey) return;
      if (!keys[event.key] || (event.key === " " && tagName === "BUTTON")) return;
      event.preventDefault();
      keys[event.key]();
    });
    for (const kind of ["pointerdown", "pointermove"]) get("veil").addEventListener(kind, walked);
    get("place").addEventListener("pointerleave", hide);
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      const [file] = event.dataTransfer.files;
      (/\.txt$/i.test(file?.name) ? load : upload)(file);
    });
    setInterval(listen, 100);
    requestAnimationFrame(tick);
  }
  function listen() {
    const drawn = graph();
    if (!drawn?.on || drawn.heard) return;
    drawn.heard = true;
    drawn.on("plotly_click", clicked);
    drawn.on("plotly_hover", ({ points, event }) => {
      const point = points.find((one) => one.data.uid === "points");
      state.hovered = point ? numberOf(point) : null;
      if (point) look(state.hovered, event); else hide();
    });
    drawn.on("plotly_unhover", () => { state.hovered = null; hide(); });
    count("ready");
  }

  function show(film) {
    if (!state.begun) setUp();
    clearTimeout(state.settling);
    // After the first frame: drawing the map may take longer than that.
    if (film) setTimeout(() => drawPaths(film.traces), 50);
    // While the next path is chosen, the last one goes on, faded.
    const next = !film?.reels.length && state.stops.length;
    get("stage").classList.toggle("old", Boolean(next));
    if (!next) state.film = film;
    get("stage").classList.toggle("empty", !length());
    if (next || !length()) return;
    const sheets = [...film.reels.map((one) => one.sheet), film.beside].filter(Boolean);
    state.pictures = new Map(sheets.map((sheet) => [sheet, make("img", { src: sheet.src })]));
    const methods = film.reels.map((one) => one.method);
    for (const side of SIDES) set(`method-${side}`, { options: methods });
    get("key").replaceChildren(...methods.map((name) => make("span", { className: name, textContent: name })));
    get("scrub").firstChild.max = length() - 1;
    get("curves").replaceChildren(curve(film.errorName, "errors"), curve("step", "steps"));
    play(true);
    Promise.all([...state.pictures.values()].map((one) => one.decode())).then(() => {
      if (state.film !== film) return;
      showFrame(0);
      count("shown");
      // What takes longer is asked for when nobody has clicked on.
      state.settling = setTimeout(() => set("settled", { data: document.body.dataset.shown }), 1500);
    });
  }
  const turn = (side) => (method) => { state.shown[side] = method; showFrame(state.frame); };
  (window.dash_clientside ??= {}).explorer = {
    show,
    pick: (pair) => { if (pair) set("stops", { value: pair }); },
    command: (also, now) => now && now.replace(/( --also=.*)?$/, also.length ? ` --also=${also.join(",")}` : ""),
    choose: (text) => { state.stops = parts(text || ""); if (state.begun) sessionStorage.stops = text || ""; },
    measured: (made, wish) => {
      if (JSON.stringify(made?.wish) !== JSON.stringify(wish) || !made) return window.dash_clientside.no_update;
      if (made.view === state.view) drawPaths(made.traces);
      return made.table;
    },
    see: (view) => { state.view = view; },
    hasten: (speed) => { state.speed = Number(speed) || 1; },
    turn: turn("left"), turnRight: turn("right"),
  };
})();
