// The tabs that move the latent point: dimensions, directions of the posterior, attributes.
"use strict";

(() => {
  const { make, number, state, on, change, commit, later, live } = explorer;
  const rows = { sliders: new Map(), directions: new Map(), attributes: new Map() };
  const vectors = { directions: {}, attributes: {} };
  const loadedFor = {};
  /** Sliders that are shown at first: the others hold less information. */
  const FEW = 40;

  const keyName = (tab, key) => {
    if (tab === "sliders") return `${explorer.run.dims[key]} =`;
    if (tab === "directions") return `${(vectors.directions[key] || {}).name || key}`;
    return `${key.replaceAll("_", " ")}`;
  };

  /** Moves one dimension. */
  function moveDim(dim, value) {
    const at = live() ? state.z : explorer.chosen.loc;
    const z = at.map((own, k) => (k === dim ? value : own));
    const values = live() && state.moves.tab === "sliders" ? { ...state.moves.values } : {};
    if (value === explorer.chosen.loc[dim]) delete values[dim];
    else values[dim] = value;
    change({ z, place: null, moves: Object.keys(values).length ? { tab: "sliders", values } : {} });
  }

  /** Moves by `t` along a vector, from where the moves along vectors began. */
  function moveAlong(tab, key, t) {
    const begun = live() && state.moves.tab === tab ? state.moves.values : {};
    const start = live() ? state.z : explorer.chosen.loc;
    const by = t - (begun[key] || 0);
    const { vector } = vectors[tab][key];
    const values = { ...begun, [key]: t };
    if (t === 0) delete values[key];
    const moves = Object.keys(values).length ? { tab, values } : {};
    const z = start.map((own, k) => own + by * vector[k]);
    change({ z, moves, place: null });
  }

  /** Whether a slider can move: in an exported file only those that it holds pictures of. */
  const can = (tab, key) => live() || Boolean(held(tab, key));
  const held = (tab, key) => (explorer.positions(state.image, tab, key) || {}).positions;

  function note(...lines) {
    return make("p", { className: "soft", textContent: lines.filter(Boolean).join(" ") });
  }

  function legendOf(quantiles) {
    const mark = (name, text) => make("span", {}, make("i", { className: name }), text);
    return make("p", { className: "key soft" },
      mark("mean", "mean of q(z | x)"), mark("one", "± 1 sd"), mark("two", "± 2 sd"),
      ...(quantiles ? [mark("inner", "aggregate posterior, 25–75%"), mark("wide", "5–95%")] : []));
  }

  function fillSliders(panel, answer, count = FEW) {
    const { sites } = explorer.run;
    const site = sites.length > 1 ? state.site : sites[0].name;
    const own = answer.sliders.filter(one => one.site === site && can("sliders", one.dim));
    rows.sliders = new Map(own.slice(0, count).map(one => {
      const row = explorer.slider({
        ...one, id: `dim-${one.dim}`, label: one.name, note: `${number(one.kl)} nats`,
        start: one.loc, positions: held("sliders", one.dim),
      }, value => moveDim(one.dim, value), commit);
      return [one.dim, row];
    }));
    const idle = answer.idle.filter(name => name.startsWith(site));
    const more = make("button", { textContent: `Show all ${own.length}`, hidden: own.length <= count });
    more.addEventListener("click", () => {
      fillSliders(panel, answer, own.length);
      showValues();
      [...rows.sliders.values()][count].querySelector("input").focus();
    });
    panel.replaceChildren(...siteTabs(panel, answer), legendOf(true), ...rows.sliders.values(), more,
      note(answer.says, idle.length
        ? `Not shown, because these dimensions are inactive: ${idle.join(", ")}.` : ""));
  }

  function siteTabs(panel, answer) {
    const { sites } = explorer.run;
    if (sites.length < 2) return [];
    const count = name => answer.sliders.filter(one => one.site === name).length;
    const buttons = sites.map(({ name }) => {
      const own = make("button", { role: "radio", "aria-checked": String(name === state.site),
        tabIndex: name === state.site ? 0 : -1, textContent: `${name} (${count(name)})` });
      own.addEventListener("click", () => {
        change({ site: name });
        fillSliders(panel, answer);
        showValues();
        panel.querySelector("[role=radio][aria-checked=true]").focus();
      });
      return own;
    });
    const group = make("div",
      { role: "radiogroup", className: "sites", "aria-label": "Latent site" }, ...buttons);
    explorer.arrows(group, "[role=radio]", own => own.click());
    return [group];
  }

  function fillDirections(panel, answer) {
    vectors.directions = Object.fromEntries(answer.directions.map((own, k) => [k, own]));
    const shown = Object.keys(vectors.directions).filter(key => can("directions", key));
    rows.directions = new Map(shown.map(key => {
      const own = vectors.directions[key];
      const row = explorer.slider({
        ...own, id: `direction-${key}`, label: own.name,
        note: `${explorer.percent(own.share)} of the change`,
        loc: 0, start: 0, positions: held("directions", key),
      }, t => moveAlong("directions", key, t), commit);
      return [key, row];
    }));
    panel.replaceChildren(legendOf(false), ...rows.directions.values(), note(answer.says));
  }

  function fillAttributes(panel, answer) {
    vectors.attributes = Object.fromEntries(answer.attributes.map(own => [own.name, own]));
    const about = make("p", { className: "soft" });
    const shown = answer.attributes.filter(own => can("attributes", own.name))
      .sort((a, b) => b.score - a.score);
    rows.attributes = new Map(shown.map(own => {
      const row = explorer.slider({
        id: `attribute-${own.name}`, label: own.name.replaceAll("_", " "), note: own.says.split(" on ")[0],
        low: -1, high: 1, start: 0, positions: held("attributes", own.name),
      }, t => {
        about.textContent = `${own.name.replaceAll("_", " ")}: ${own.says}`;
        moveAlong("attributes", own.name, t);
      }, commit);
      row.title = own.says;
      return [own.name, row];
    }));
    panel.replaceChildren(...rows.attributes.values(), about,
      note(answer.says || "", ...leftOut(answer.left_out || {})));
    if (!shown.length) panel.prepend(make("p", { textContent: "No attribute can be edited." }));
  }

  /** A sentence per reason why attributes are left out. */
  function leftOut(reasons) {
    return [...new Set(Object.values(reasons))].map(why => {
      const names = Object.keys(reasons).filter(name => reasons[name] === why);
      return `${why[0].toUpperCase()}${why.slice(1)}: ${names.join(", ").replaceAll("_", " ")}.`;
    });
  }

  const FILL = { sliders: fillSliders, directions: fillDirections, attributes: fillAttributes };

  /** Fills the panel of a tab for the chosen image. */
  async function load(tab, panel) {
    if (!state.image) return;
    const own = explorer.about();
    const all = tab === "attributes" && live();
    const key = all ? "all" : JSON.stringify(own);
    if (loadedFor[tab] !== key) {
      try {
        const wanted = () => explorer.isChosen(own) && state.tab === tab;
        const answer = await later(tab, all ? {} : own, wanted);
        if (!answer || !wanted()) return;
        FILL[tab](panel, answer);
        loadedFor[tab] = key;
      } catch (error) {
        panel.replaceChildren(make("p", { className: "soft", textContent: error.message }));
        loadedFor[tab] = key;
      }
    }
    showValues();
  }

  function showValues() {
    if (!state.z) return;
    for (const [dim, row] of rows.sliders) row.show(state.z[dim]);
    for (const tab of ["directions", "attributes"]) {
      const values = state.moves.tab === tab ? state.moves.values : {};
      for (const [key, row] of rows[tab]) {
        row.show(values[key] || 0, tab === "attributes" ? predicted(key, values[key] || 0) : "");
      }
    }
  }

  /** The predicted attribute of what is decoded, with its error. */
  function predicted(name, t) {
    const own = (state.predicted || {})[name];
    const sign = t > 0 ? "+" : "";
    return own ? `${number(own.value, 2)} ± ${number(own.error, 2)}` : `${sign}${number(t, 2)}`;
  }

  on(["z", "moves", "predicted"], showValues);

  Object.assign(explorer, { load, keyName });
})();
