// Answers: from the server, or in an exported file from what it holds.
"use strict";

(() => {
  const token = new URLSearchParams(location.search).get("token") || "";
  const client = Math.random().toString(36).slice(2);
  /** Milliseconds between two positions that are sent, so that the server takes all of them. */
  const PAUSE = 25;
  let file = null;
  let order = 0;
  let foreground = 0;
  let lastForeground = 0;

  /** Reads the answers that an exported file holds. */
  function openFile() {
    const own = document.getElementById("answers");
    file = own ? JSON.parse(own.textContent) : null;
    document.documentElement.classList.toggle("exported", Boolean(file));
  }

  let open = 0;
  /** The class `busy` stands while a question is open. */
  async function counted(answer) {
    open += 1;
    document.documentElement.classList.add("busy");
    try {
      return await answer;
    } finally {
      open -= 1;
      document.documentElement.classList.toggle("busy", open > 0);
    }
  }

  async function post(name, body, type) {
    let response;
    try {
      const headers = { "Content-Type": type, "X-Token": token };
      response = await fetch(`api/${name}`, { method: "POST", headers, body });
    } catch {
      throw new Error("The server does not answer. Is `pyrovae explore` still running?");
    }
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(answer.error || `The server answered ${response.status}.`);
    return answer;
  }

  /** The answer to a question; an error with one line where there is none. */
  async function ask(name, given = {}) {
    if (file) return lookUp(name, given);
    foreground += 1;
    try {
      return await counted(post(name, JSON.stringify(given), "application/json"));
    } finally {
      foreground -= 1;
      lastForeground = performance.now();
    }
  }

  let queue = Promise.resolve();
  /** Asks what can wait: one question at a time, after `quiet` milliseconds without others. */
  async function later(name, given, wanted = () => true, quiet = 100) {
    if (file) return lookUp(name, given);
    const body = JSON.stringify(given);
    while (foreground || performance.now() - lastForeground < quiet) {
      await new Promise(done => setTimeout(done, 30));
      if (!wanted()) return null;
    }
    const turn = queue.then(() => (wanted() ? post(name, body, "application/json") : null));
    queue = turn.catch(() => {});
    return turn;
  }

  const upload = bytes => counted(post("upload", bytes, "application/octet-stream"));

  /** The function of newest values: one in flight, the newest next, older ones are left out. */
  function newest(run, show) {
    let busy = false;
    let next = null;
    return async value => {
      next = { value };
      if (busy) return;
      busy = true;
      while (next) {
        const own = next.value;
        next = null;
        const pause = new Promise(done => setTimeout(done, PAUSE));
        try {
          const answer = await run(own);
          if (answer && !answer.dropped) show(answer, own);
        } catch (error) {
          explorer.fail(error);
        }
        await pause;
      }
      busy = false;
    };
  }

  function lookUp(name, given) {
    const own = file.images[given.name];
    const found = {
      run: () => ({ ...file.run, images: Object.keys(file.images), uploads: false }),
      map: () => file.map[given.method],
      colour: () => file.colour[given.name],
      thumbs: () => file.thumbs,
      image: () => own && own.image,
      draws: () => own && own.draws,
      scores: () => own && own.scores,
      sliders: () => own && own.sliders,
      directions: () => own && own.directions,
      attributes: () => file.attributes || anyAttributes(),
      ground: () => nearestGround(given.places[0]),
    }[name];
    const answer = found && found();
    if (answer) return answer;
    const shown = Object.keys(file.images).join(", ");
    throw new Error(given.name && !own
      ? `${given.name} is not in this file, which holds ${shown}.`
      : "This needs the live explorer: pyrovae explore RUN.");
  }

  function anyAttributes() {
    const first = Object.values(file.images)[0];
    return first && first.attributes;
  }

  /** The ground that was decoded before, nearest to a place. */
  function nearestGround(place) {
    const grid = file.grid;
    if (!grid || !grid.places) return null;
    const far = grid.places.map(own => Math.hypot(own[0] - place[0], own[1] - place[1]));
    const best = far.indexOf(Math.min(...far));
    return {
      z: [grid.z[best]], images: [grid.images[best]], cover: [grid.cover[best]],
      places: [grid.places[best]],
    };
  }

  /** The pre-decoded positions of a slider of an image: `{positions, sprite}`, or nothing. */
  function positions(name, tab, key) {
    const own = file && file.images[name] && file.images[name].moves;
    return own && own[tab] ? own[tab][key] : undefined;
  }

  /** What is decoded now: the image, how well it is covered, predicted attributes. */
  async function decoded(state) {
    if (!file) {
      order += 1;
      const asked = { z: [state.z], given: state.given, client, order };
      // The posterior of the image that the point starts from does not count as cover.
      if (state.moves.tab || explorer.isMean(state.z)) asked.name = state.image;
      const answer = await ask("decode", asked);
      if (answer.dropped) return answer;
      return {
        image: answer.images[0], cover: answer.cover[0],
        predicted: (answer.predicted || [])[0] || {},
      };
    }
    const { tab, values } = state.moves;
    const key = Object.keys(values || {})[0];
    if (key !== undefined) {
      const own = positions(state.image, tab, key);
      const index = own.positions.findIndex(value => Math.abs(value - values[key]) < 1e-9);
      const sprite = await explorer.loaded(own.sprite);
      const cover = own.cover ? own.cover[index] : null;
      const predicted = own.predicted ? own.predicted[index] : {};
      return { image: explorer.frameURL(sprite, index, own.positions.length), cover, predicted };
    }
    if (state.place) {
      const own = nearestGround(state.place);
      return { image: own.images[0], cover: own.cover[0], predicted: {} };
    }
    return { image: file.images[state.image].image.reconstruction, cover: null, predicted: {} };
  }

  Object.assign(explorer, {
    openFile, ask, upload,
    later: (...asked) => counted(later(...asked)), newest, positions, decoded,
    live: () => !file,
    ground: () => (file ? file.grid : null),
    thumbnails: () => (file ? file.thumbs : null),
  });
})();
