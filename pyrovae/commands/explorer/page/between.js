// From A to B, with the density along the way, and the encodings nearest to a point.
"use strict";

(() => {
  const { byId, make, draw, number, state, on, change, commit, later, loaded } = explorer;
  const STEPS = 12;
  /** The margin of the plot for its numbers, in pixels: that of the strip above it. */
  const LEFT = 52;
  const HEIGHT = 124;
  let panels = {};

  function label() {
    if (explorer.isMean(state.z)) return state.image;
    if (!state.place) return `${state.image} moved`;
    return `map ${state.place.slice(0, 2).map(v => number(v, 2)).join(" ")}`;
  }

  function setEnd(end) {
    change({ [end]: { label: label(), z: state.z, place: state.place } });
    commit();
  }

  const line = (x1, y1, x2, y2, name) => draw("line", { x1, y1, x2, y2, class: name });

  function text(x, y, words, anchor = "end") {
    const own = draw("text", { x, y, "text-anchor": anchor });
    own.textContent = words;
    return own;
  }

  /** The numbers at the axis: the band's ends and the least density, where there is room. */
  function ticks(values, y) {
    const apart = (v, k) => values.slice(0, k).every(other => Math.abs(y(v) - y(other)) > 13);
    return values.filter(apart).map(v => text(LEFT - 6, y(v) + 4, number(v)));
  }

  /** The density along the path, with the usual band of encodings if it is known. */
  function plot({ density, usual, cover }, width) {
    const bottom = HEIGHT - 22;
    const known = usual.every(Number.isFinite);
    const [low5, median, high95] = usual;
    const values = known ? [...density, low5, high95] : density;
    const [least, most] = [Math.min(...values), Math.max(...values)];
    const room = (most - least) * 0.08 || 1;
    const y = v => 6 + (most + room - v) / (most - least + 2 * room) * (bottom - 6);
    const x = k => LEFT + (k + 0.5) / density.length * (width - LEFT);
    const height = known ? Math.max(1, y(low5) - y(high95)) : 0;
    const band = known ? [
      draw("rect", { x: LEFT, y: y(high95), width: width - LEFT, height, class: "band" }),
      line(LEFT, y(median), width, y(median), "median")] : [];
    const lowest = Math.min(...density);
    const said = `Log density along the path in nats: ${number(density[0])} at A, `
      + `${number(density.at(-1))} at B, ${number(lowest)} at least`;
    return draw("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, class: "plot", role: "img", "aria-label": said },
      ...band, line(LEFT, 0, LEFT, bottom, "axis"),
      draw("polyline", { points: density.map((v, k) => `${x(k)},${y(v)}`).join(" "), class: "curve" }),
      ...density.map((v, k) => draw("circle", {
        cx: x(k), cy: y(v), r: 4, class: cover[k].thin ? "dot thin" : "dot",
      })),
      ...ticks(known ? [high95, low5, lowest] : [most, lowest], y),
      text(LEFT, HEIGHT - 5, "A", "middle"), text(width - 4, HEIGHT - 5, "B"),
      text((LEFT + width) / 2, HEIGHT - 5,
        known ? "log p(z) in nats; band: 5–95% of encodings" : "log p(z) in nats", "middle"));
  }

  function fillBetween(panel) {
    const button = end => {
      const own = make("button", { textContent: `Set ${end.toUpperCase()} here` });
      own.addEventListener("click", () => setEnd(end));
      return own;
    };
    const ends = ["a", "b"].map(end => make("span", { className: "end" },
      make("b", { textContent: end.toUpperCase() }), make("span", { id: `end-${end}` }), button(end)));
    const kinds = ["straight", "sphere"].map(kind => {
      const own = make("input", { type: "radio", name: "path", value: kind, id: `path-${kind}` });
      own.addEventListener("change", () => {
        change({ path: kind });
        commit();
      });
      return make("label", {}, own, kind === "straight" ? " straight" : " on the sphere");
    });
    const swap = make("button", { textContent: "Swap" });
    swap.addEventListener("click", () => {
      change({ a: state.b, b: state.a });
      commit();
    });
    panel.replaceChildren(make("div", { className: "row ends" }, ...ends, swap, ...kinds),
      make("div", { id: "path" }));
  }

  async function showPath() {
    const own = byId("path");
    if (!own) return;
    for (const end of ["a", "b"]) {
      byId(`end-${end}`).textContent = state[end] ? state[end].label : "not set";
    }
    byId(`path-${state.path}`).checked = true;
    if (!state.a || !state.b) {
      own.replaceChildren(make("p", { className: "soft", textContent:
        "Choose an image or a place on the map, and set it as A. Choose another, and set it as B." }));
      return;
    }
    const key = JSON.stringify([state.a.z, state.b.z, state.path, state.given]);
    if (own.key === key) return;
    own.key = key;
    const asked = { first: state.a.z, second: state.b.z, kind: state.path, steps: STEPS, given: state.given };
    try {
      const answer = await later("path", asked, () => own.key === key);
      if (answer && own.key === key) drawPath(own, answer);
    } catch (error) {
      own.replaceChildren(make("p", { className: "soft", textContent: error.message }));
    }
  }

  function drawPath(own, answer) {
    const strip = answer.images.map((src, k) => {
      const thin = answer.cover[k].thin;
      const one = make("button", { className: thin ? "thin" : "", title: thin ? answer.cover[k].says : "" },
        make("img", { src, alt: `Step ${k + 1} of ${answer.images.length}${thin ? ", sparse region" : ""}` }));
      one.addEventListener("click", () => explorer.goTo(answer.z[k]));
      return one;
    });
    const count = answer.cover.filter(one => one.thin).length;
    const warning = make("p", { className: "warning", hidden: !count, textContent:
      `${count} of ${answer.cover.length} steps cross sparse regions (outlined).` });
    own.replaceChildren(make("div", { className: "path-strip" }, ...strip),
      answer.density.every(Number.isFinite) ? plot(answer, Math.max(own.clientWidth, 240)) : "",
      warning, make("p", { className: "soft", textContent: answer.says || "" }));
  }

  async function showNearest() {
    const { z } = state;
    const panel = panels.nearest;
    if (!z) return;
    try {
      const answer = await later("nearest", { z, count: 18 }, () => z === state.z && state.tab === "nearest");
      if (!answer || z !== state.z) return;
      const sprite = await loaded(answer.sprite);
      const shown = answer.names.map((name, k) => {
        const one = make("button", { className: "near" },
          make("img", { src: explorer.frameURL(sprite, k, answer.names.length), alt: "" }),
          make("span", { textContent: name }), make("small", { textContent: number(answer.distances[k]) }));
        one.addEventListener("click", () => explorer.choose(name));
        return one;
      });
      panel.replaceChildren(make("p", { className: "soft", textContent: answer.says
        || "The encodings nearest to the decoded point, and their distances." }),
      make("div", { className: "nears" }, ...shown));
    } catch (error) {
      panel.replaceChildren(make("p", { className: "soft", textContent: error.message }));
    }
  }

  function show(tab, panel) {
    panels[tab] = panel;
    if (!explorer.live()) {
      panel.replaceChildren(make("p", { textContent:
        "This needs the live explorer, which decodes any point: pyrovae explore RUN." }));
      return;
    }
    if (tab === "between") {
      if (!byId("path")) fillBetween(panel);
      showPath();
    } else {
      showNearest();
    }
  }

  on(["a", "b", "path", "given"], () => { if (state.tab === "between" && explorer.live()) showPath(); });
  let timer = 0;
  on(["z"], () => {
    clearTimeout(timer);
    if (state.tab === "nearest" && explorer.live()) timer = setTimeout(showNearest, 250);
  });

  Object.assign(explorer, { showBetween: show });
})();
