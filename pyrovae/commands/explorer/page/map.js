// The map's controls: pointer, keyboard, menus, and what hovers.
"use strict";

(() => {
  const { byId, make, canvas, scene, size, state, on, change, fail, number } = explorer;
  const pointers = new Map();
  let moved = false;
  let pinch = 0;
  const answers = { map: {}, colour: {} };
  const hoverCard = byId("hover");
  const hoverAnswers = new Map();
  /** Answers that are kept for images that the pointer comes to again. */
  const MANY = 500;

  function zoom(factor, px = size.width / 2, py = size.height / 2) {
    if (!scene.map) return;
    const [x, y] = explorer.fromXY(px, py);
    const own = explorer.view();
    const span = Math.min(Math.max(own.span * factor, scene.all.span / 400), scene.all.span * 4);
    const rest = span / own.span;
    change({ view: { x: x + (own.x - x) * rest, y: y + (own.y - y) * rest, span } });
  }

  function pan(dx, dy) {
    const own = explorer.view();
    const scale = explorer.scale();
    change({ view: { ...own, x: own.x - dx / scale, y: own.y + dy / scale } });
  }

  /** Decodes a place of the map, and goes there. */
  async function decodeAt(place) {
    try {
      const { method, given } = state;
      const answer = await explorer.ask("ground", { method, given, places: [place] });
      explorer.goTo(answer.z[0], { place: [...(answer.places ? answer.places[0] : place), method] });
    } catch (error) {
      fail(error);
    }
  }

  function press(px, py, anywhere) {
    const row = anywhere ? -1 : explorer.pointAt(px, py);
    if (row >= 0) explorer.choose(scene.map.names[row]);
    else decodeAt(explorer.fromXY(px, py));
  }

  const within = event => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  function pinched(event) {
    pointers.set(event.pointerId, within(event));
    const [a, b] = [...pointers.values()];
    const now = Math.hypot(a[0] - b[0], a[1] - b[1]);
    if (pinch) zoom(pinch / now, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
    pinch = now;
  }

  canvas.addEventListener("pointerdown", event => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, within(event));
    if (pointers.size === 1) moved = false;
    pinch = 0;
  });
  canvas.addEventListener("pointermove", event => {
    const [px, py] = within(event);
    if (!pointers.has(event.pointerId)) {
      hover(explorer.pointAt(px, py), px, py);
      return;
    }
    if (pointers.size === 2) {
      moved = true;
      pinched(event);
      return;
    }
    const last = pointers.get(event.pointerId);
    if (!moved && Math.hypot(px - last[0], py - last[1]) < 4) return;
    moved = true;
    hover(-1);
    pan(px - last[0], py - last[1]);
    pointers.set(event.pointerId, [px, py]);
  });
  canvas.addEventListener("pointerup", event => {
    const known = pointers.delete(event.pointerId);
    pinch = 0;
    if (known && !moved && event.button === 0) press(...within(event), event.shiftKey);
  });
  canvas.addEventListener("pointercancel", event => { pointers.delete(event.pointerId); });
  canvas.addEventListener("pointerleave", () => hover(-1));
  canvas.addEventListener("wheel", event => {
    event.preventDefault();
    zoom(Math.exp(event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), ...within(event));
  }, { passive: false });

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[event.key];
    if (arrow) moveCursor(arrow, event.shiftKey ? 40 : 8);
    else if (event.key === "Enter" && scene.cursor) press(...scene.cursor, event.shiftKey);
    else if (event.key === "+" || event.key === "=") zoom(1 / 1.4, ...(scene.cursor || []));
    else if (event.key === "-") zoom(1.4, ...(scene.cursor || []));
    else if (event.key === "0") change({ view: explorer.wholeView() });
    else if (event.key === "Escape") removeCursor();
    else return;
    event.preventDefault();
  });

  function moveCursor([dx, dy], step) {
    const [px, py] = scene.cursor || [size.width / 2 - dx * step, size.height / 2 - dy * step];
    const next = [px + dx * step, py + dy * step];
    const inside = [Math.min(Math.max(next[0], 0), size.width), Math.min(Math.max(next[1], 0), size.height)];
    if (next[0] !== inside[0] || next[1] !== inside[1]) pan(inside[0] - next[0], inside[1] - next[1]);
    scene.cursor = inside;
    const row = explorer.pointAt(...inside);
    hover(row, ...inside);
    const place = explorer.fromXY(...inside).map(v => number(v)).join(", ");
    explorer.speak(row >= 0 ? `${scene.map.names[row]}, ${colourText(row)}` : `empty place at ${place}`);
    explorer.redraw();
  }

  function removeCursor() {
    scene.cursor = null;
    hover(-1);
    explorer.redraw();
  }

  const colourText = row => {
    const own = answers.colour[state.colour];
    return own ? `${state.colour}: ${explorer.named(own, row)}` : "";
  };

  let hoverTimer = 0;
  function hover(row, px, py) {
    clearTimeout(hoverTimer);
    canvas.classList.toggle("over", row >= 0);
    if (row !== scene.hovered) {
      scene.hovered = row;
      explorer.redraw();
      hoverCard.hidden = true;
    }
    if (row < 0) return;
    place(px, py);
    hoverTimer = setTimeout(() => fillCard(row, px, py), 50);
  }

  function place(px, py) {
    const left = px > size.width / 2 ? px - hoverCard.offsetWidth - 14 : px + 14;
    const top = Math.min(Math.max(py - 40, 4), size.height - hoverCard.offsetHeight - 4);
    hoverCard.style.left = `${Math.max(4, left)}px`;
    hoverCard.style.top = `${Math.max(4, top)}px`;
  }

  async function fillCard(row, px, py) {
    const name = scene.map.names[row];
    const own = hoverAnswers.get(name) || await explorer.later(
      "image", { name }, () => scene.hovered === row).catch(() => null);
    if (hoverAnswers.size > MANY) hoverAnswers.clear();
    if (own) hoverAnswers.set(name, own);
    if (scene.hovered !== row) return;
    const text = make("figcaption", {}, make("b", { textContent: name }), ` ${colourText(row)}`);
    const pictures = own ? [["image", own.picture], ["reconstruction", own.reconstruction]] : [];
    const shown = pictures.map(([alt, src]) => make("img", { alt, src }));
    if (!own && explorer.thumbOf(row)) {
      const { sprite, k, count } = explorer.thumbOf(row);
      shown.push(explorer.frame(sprite, k, count));
    }
    hoverCard.replaceChildren(make("div", {}, ...shown), text);
    hoverCard.hidden = false;
    place(px, py);
  }

  /** Loads the map of the chosen method. */
  async function loadMap() {
    const { method } = state;
    try {
      if (!answers.map[method]) {
        byId("map-says").textContent = `Computing ${method} …`;
        Object.assign(scene, { map: null, hovered: -1 });
        explorer.redraw();
      }
      answers.map[method] = answers.map[method] || await explorer.ask("map", { method });
      if (method !== state.method) return;
      Object.assign(scene, { map: answers.map[method], shade: null, hovered: -1 });
      scene.all = explorer.wholeView();
      if (!state.view) change({ view: explorer.firstView() });
      const first = scene.map.says.match(/^.*?\.(?= |$)/);
      placeUpload(method);
      byId("map-says").textContent = first ? first[0] : scene.map.says;
      byId("map-more").textContent = first ? scene.map.says.slice(first[0].length) : "";
      canvas.setAttribute("aria-label", `Map of ${scene.map.names.length} images by ${method}`);
      explorer.redraw();
    } catch (error) {
      byId("map-says").textContent = `${method} cannot be shown.`;
      fail(error);
    }
  }

  /** An uploaded image gets its place on a map that was made after it. */
  async function placeUpload(method) {
    const { chosen } = explorer;
    if (!chosen || scene.map.names.includes(chosen.name) || chosen.place[method]) return;
    const answer = await explorer.ask("image", { name: chosen.name });
    chosen.place = answer.place;
    explorer.redraw();
  }

  /** Loads the values of a colour; slow ones come in pieces. */
  async function loadColour() {
    const name = state.colour;
    try {
      while (name === state.colour) {
        const held = answers.colour[name];
        const answer = held && held.done >= 1 ? held : await explorer.later("colour", { name });
        answers.colour[name] = answer;
        if (name !== state.colour) return;
        Object.assign(scene, { paint: explorer.paint(answer), stampKey: "" });
        explorer.legend(answer, name);
        explorer.redraw();
        if (answer.done >= 1) return;
      }
    } catch (error) {
      fail(error);
    }
  }

  function fill(select, names) {
    select.replaceChildren(...names.map(
      own => make("option", { value: own, textContent: own.replaceAll("_", " ") })));
  }

  function startMap() {
    const { run } = explorer;
    fill(byId("method"), run.methods);
    fill(byId("colour"), run.colours.map(own => own.name));
    byId("method").addEventListener("change", event => {
      change({ method: event.target.value, view: null });
    });
    byId("colour").addEventListener("change", event => change({ colour: event.target.value }));
    for (const key of ["thumbs", "grid", "thin"]) {
      byId(key).addEventListener("change", event => {
        change({ layers: { ...state.layers, [key]: event.target.checked } });
      });
    }
    byId("zoom-in").addEventListener("click", () => zoom(1 / 1.4));
    byId("zoom-out").addEventListener("click", () => zoom(1.4));
    byId("zoom-all").addEventListener("click", () => change({ view: explorer.wholeView() }));
    new ResizeObserver(explorer.resize).observe(byId("ground"));
    explorer.dark.addEventListener("change", () => {
      scene.shade = null;
      loadColour();
    });
    explorer.resize();
  }

  on(["method"], () => { byId("method").value = state.method; loadMap(); });
  on(["colour"], () => { byId("colour").value = state.colour; loadColour(); });
  on(["layers"], () => {
    for (const key of ["thumbs", "grid", "thin"]) byId(key).checked = state.layers[key];
  });
  on(["view"], () => { if (!state.view && scene.map) state.view = explorer.firstView(); });
  on(["view", "layers", "image", "z", "place", "a", "b"], explorer.redraw);

  Object.assign(explorer, { startMap });
})();
