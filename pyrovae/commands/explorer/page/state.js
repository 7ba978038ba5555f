// The state of the page: listeners, undo and redo, and the address that restores it.
"use strict";

(() => {
  const { fail } = explorer;
  /** What undo goes back over; the rest is how the page looks. */
  const CONTENT = ["image", "z", "place", "moves", "given", "a", "b", "path"];
  const state = {
    image: null, z: null, place: null, moves: {}, given: {}, a: null, b: null, path: "straight",
    method: "", colour: "", view: null, layers: { thumbs: false, grid: false, thin: true },
    tab: "sliders", site: "",
  };
  const listeners = [];
  const past = [];
  let at = -1;
  let linkTimer = 0;
  let asked = 0;

  /** Calls `listener(state, changed)` after each change of one of the keys. */
  const on = (keys, listener) => listeners.push({ keys, listener });

  function change(patch) {
    Object.assign(state, patch);
    for (const { keys, listener } of listeners) {
      if (keys.some(key => key in patch)) listener(state, patch);
    }
    clearTimeout(linkTimer);
    linkTimer = setTimeout(writeLink, 150);
  }

  const content = () => Object.fromEntries(CONTENT.map(key => [key, state[key]]));

  /** Makes the present content a step of undo. */
  function commit() {
    const text = JSON.stringify(content());
    if (at >= 0 && past[at] === text) return;
    past.splice(at + 1, past.length, text);
    if (past.length > 200) past.shift();
    at = past.length - 1;
    change({ steps: [at, past.length] });
  }

  async function step(by) {
    if (at + by < 0 || at + by >= past.length) return;
    at += by;
    const own = JSON.parse(past[at]);
    await choose(own.image, own, false);
    change({ steps: [at, past.length] });
  }

  /** Chooses an image by its name; `rest` is other content, such as a latent point. */
  async function choose(name, rest = {}, isStep = true) {
    const own = ++asked;
    try {
      const { chosen } = explorer;
      const given = rest.given || {};
      const held = chosen && chosen.name === name
        && chosen.unknown.every(key => (given[key] ?? chosen.given[key]) === chosen.given[key]);
      const answer = held ? chosen : await explorer.ask("image", { name, given });
      if (own !== asked) return;
      await show(answer, rest, isStep);
    } catch (error) {
      fail(error);
    }
  }

  function show(answer, rest = {}, isStep = true) {
    explorer.chosen = answer;
    const start = { image: answer.name, z: answer.loc, place: null, moves: {} };
    const given = { ...answer.given, ...rest.given };
    const kept = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
    change({ ...start, ...kept, image: answer.name, z: rest.z || answer.loc, given });
    if (isStep) commit();
  }

  /** What questions on the chosen image say: its name, and the attributes that it was encoded with. */
  const about = () => ({ name: explorer.chosen.name, given: explorer.chosen.given });
  const isChosen = own => JSON.stringify(own) === JSON.stringify(about());

  /** Goes to a latent point; `place` where it was decoded on the map. */
  function goTo(z, rest = {}) {
    change({ z, place: null, moves: {}, ...rest });
    commit();
  }

  const same = (a, b) => Math.fround(a) === Math.fround(b);
  const isMean = z => explorer.chosen && z.every((own, i) => same(own, explorer.chosen.loc[i]));

  function pack(z) {
    const bytes = new Uint8Array(new Float32Array(z).buffer);
    return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_")
      .replace(/=/g, "");
  }

  function unpack(text) {
    let z = [];
    try {
      const own = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
      z = [...new Float32Array(Uint8Array.from(own, c => c.charCodeAt(0)).buffer)];
    } catch { /* The browser's words say nothing of the link. */ }
    if (z.length !== explorer.run.dims.length || !z.every(Number.isFinite)) {
      throw new Error("the latent point of the link does not fit this run");
    }
    return z;
  }

  const short = value => Number(value.toPrecision(5));
  const list = own => Object.entries(own).map(([key, value]) => `${key}:${short(value)}`).join(",");
  const pairs = text => Object.fromEntries((text || "").split(",").filter(Boolean).map(own => {
    const cut = own.lastIndexOf(":");
    return [own.slice(0, cut), Number(own.slice(cut + 1))];
  }));

  /** The state as the part of an address behind `#`. */
  function link() {
    const own = new URLSearchParams();
    if (!state.image) return "";
    own.set("image", state.image);
    if (!isMean(state.z)) own.set("z", pack(state.z));
    if (state.place) own.set("place", `${state.place.slice(0, 2).map(short)},${state.place[2]}`);
    if (state.moves.tab) own.set("moves", `${state.moves.tab};${list(state.moves.values)}`);
    if (Object.keys(state.given).length) own.set("given", list(state.given));
    for (const key of ["a", "b"]) {
      if (state[key]) own.set(key, `${state[key].label}~${pack(state[key].z)}`);
    }
    for (const key of ["path", "method", "colour", "tab", "site"]) {
      if (state[key]) own.set(key, state[key]);
    }
    own.set("layers", Object.keys(state.layers).filter(key => state.layers[key]).join(","));
    if (state.view) {
      own.set("view", [state.view.x, state.view.y, state.view.span].map(short).join(","));
    }
    return `#${own}`;
  }

  function writeLink() {
    const own = link();
    if (own && own !== location.hash) history.replaceState(null, "", own);
  }

  const numbers = (text, count) => {
    const own = (text || "").split(",").map(Number);
    return own.length === count && own.every(Number.isFinite) ? own : null;
  };

  function readPlace(text) {
    const [x, y, method] = (text || "").split(",");
    const place = numbers(`${x},${y}`, 2);
    return place && explorer.run.methods.includes(method) ? [...place, method] : null;
  }

  function readEnd(text) {
    const cut = text ? text.lastIndexOf("~") : -1;
    return cut < 0 ? null : { label: text.slice(0, cut), z: unpack(text.slice(cut + 1)) };
  }

  /** Restores the state of the address; what it does not say is as at the start. */
  async function restore() {
    const own = new URLSearchParams(location.hash.slice(1));
    const one = (key, allowed, usual) => (allowed.includes(own.get(key)) ? own.get(key) : usual);
    const { run } = explorer;
    const view = numbers(own.get("view"), 3);
    const shown = own.has("layers") ? own.get("layers").split(",") : ["thin"];
    change({
      method: one("method", run.methods, run.methods[0]),
      colour: one("colour", run.colours.map(c => c.name), explorer.firstColour()),
      tab: own.get("tab") || "sliders",
      site: one("site", run.sites.map(s => s.name), run.sites[0].name),
      view: view && view[2] > 0 ? { x: view[0], y: view[1], span: view[2] } : null,
      layers: Object.fromEntries(["thumbs", "grid", "thin"].map(k => [k, shown.includes(k)])),
    });
    let rest = {};
    try {
      const [tab, values] = (own.get("moves") || "").split(";");
      rest = {
        z: own.has("z") ? unpack(own.get("z")) : undefined,
        place: readPlace(own.get("place")),
        moves: tab && values ? { tab, values: pairs(values) } : {},
        given: pairs(own.get("given")),
        a: readEnd(own.get("a")), b: readEnd(own.get("b")),
        path: one("path", ["straight", "sphere"], "straight"),
      };
    } catch (error) {
      fail(error);
    }
    await choose(own.get("image") || run.images[0], rest);
    if (!state.image) await choose(run.images[0]);
  }

  Object.assign(explorer, { state, on, change, commit, step, choose, show, about, isChosen, goTo, isMean, link, restore });
})();
