// The chosen image: pictures, what is decoded now, draws, scores, attributes as inputs.
"use strict";

(() => {
  const { byId, make, number, state, on, change, commit, fail, later } = explorer;
  let seed = 0;
  let timer = 0;
  let frames = [];
  let shown = null;

  const SCORES = [
    ["rate", "rate", "nats"], ["distortion", "distortion", "nats"], ["elbo", "ELBO", "nats"],
    ["log_evidence", "log p(x)", "nats"], ["bits_per_dim", "bits per dim", ""],
    ["k_hat", "k-hat", ""], ["typicality", "outlier score", "nats"], ["p_value", "p-value", ""],
  ];

  function showImage() {
    const { chosen } = explorer;
    if (shown && explorer.isChosen(shown)) return;
    shown = explorer.about();
    byId("image-name").textContent = chosen.name;
    byId("name").value = chosen.name;
    byId("picture").src = chosen.picture;
    byId("reconstruction").src = chosen.reconstruction;
    const known = Object.entries(chosen.attributes || {}).filter(([, value]) => value !== null);
    byId("image-attributes").hidden = !known.length;
    byId("image-attributes").querySelector("p").textContent = known.map(([name, value]) => (
      `${name.replaceAll("_", " ")} ${typeof value === "number" ? number(value) : value}`)).join(" · ");
    byId("unlike").hidden = true;
    byId("assumed").hidden = !chosen.unknown.length;
    const assumed = chosen.unknown.map(key => `${key.replaceAll("_", " ")} ${givenText(key, chosen.given[key])}`);
    byId("assumed").textContent = `Not known of this image, so assumed: ${assumed.join(", ")}.`
      + (explorer.live() ? " Set it below: the posterior, the draws and the scores depend on it." : "");
    stop();
    fillScores(null);
    loadDraws();
    loadScores();
  }

  async function loadScores() {
    const own = explorer.about();
    const wanted = () => explorer.isChosen(own);
    try {
      for (let done = 0; done < 1 && wanted();) {
        const answer = await later("scores", own, wanted, 500);
        if (!answer || !wanted()) return;
        fillScores(answer);
        done = answer.done ?? 1;
      }
    } catch (error) {
      byId("scores").replaceChildren(make("dd", { className: "soft", textContent: error.message }));
    }
  }

  function fillScores(answer) {
    const own = byId("scores");
    own.replaceChildren();
    for (const [key, label, unit] of SCORES) {
      if (answer && (answer[key] === null || answer[key] === undefined)) continue;
      const error = key === "log_evidence" && answer && answer.error !== null
        ? ` ± ${number(answer.error, 2)}` : "";
      const digits = key === "p_value" ? 2 : Math.abs(answer && answer[key]) < 100 ? 3 : 4;
      const least = key === "log_evidence" && answer && answer.at_least ? "≥ " : "";
      const value = answer ? `${least}${number(answer[key], digits)}${error}` : "…";
      own.append(make("dt", { textContent: label }),
        make("dd", {}, value, make("small", { textContent: answer ? ` ${unit}` : "" })));
    }
    if (!answer) return;
    const [first, ...rest] = answer.says || [];
    byId("unlike").hidden = !answer.unlike;
    const more = rest.length ? [make("details", {}, make("summary", { textContent: "more" }),
      make("p", { textContent: rest.join(" ") }))] : [];
    if (answer.unlike) byId("unlike").replaceChildren(first || "", ...more);
    else if (first) own.append(make("dd", { className: "soft says" }, first, ...more));
  }

  async function loadDraws() {
    const own = explorer.about();
    const wanted = () => explorer.isChosen(own);
    try {
      const answer = await later("draws", { ...own, count: 16, seed }, wanted);
      if (!answer || !wanted()) return;
      frames = answer.images;
      byId("draws-strip").replaceChildren(...frames.map(
        (src, k) => make("img", { src, alt: `Draw ${k + 1}` })));
      byId("deviation").src = answer.deviation;
      const largest = number(answer.largest, 2);
      byId("deviation-caption").textContent = `std. dev. over draws, up to ${largest} of 255`;
      byId("deviation").title = answer.says || "";
    } catch (error) {
      fail(error);
    }
  }

  function stop() {
    clearInterval(timer);
    timer = 0;
    byId("play").setAttribute("aria-pressed", "false");
    byId("play").textContent = "Play";
    for (const own of byId("draws-strip").children) own.classList.remove("shown");
  }

  /** Plays the draws in the place of the decoded image. */
  function play() {
    if (timer) {
      stop();
      decode(state);
      return;
    }
    let k = 0;
    byId("play").setAttribute("aria-pressed", "true");
    byId("play").textContent = "Stop";
    timer = setInterval(() => {
      const marks = byId("draws-strip").children;
      for (const own of marks) own.classList.remove("shown");
      marks[k % frames.length].classList.add("shown");
      byId("now-image").src = frames[k % frames.length];
      byId("now-caption").textContent = `draw ${k % frames.length + 1} of ${frames.length} from q(z | x)`;
      k += 1;
    }, explorer.calm() ? 1000 : 180);
  }

  /** What is decoded, in words. */
  function caption(own) {
    const values = Object.entries(own.moves.values || {});
    if (values.length) {
      const sign = t => (own.moves.tab !== "sliders" && t > 0 ? "+" : "");
      const text = values.map(
        ([key, t]) => `${explorer.keyName(own.moves.tab, key)} ${sign(t)}${number(t)}`);
      return text.length > 3 ? `${text.slice(0, 3).join(", ")}, …` : text.join(", ");
    }
    if (own.place) return `map (${own.place.slice(0, 2).map(v => number(v)).join(", ")})`;
    const usual = explorer.chosen.given;
    const changed = Object.entries(own.given).filter(([key, v]) => givenText(key, v) !== givenText(key, usual[key]));
    const at = changed.map(([key, v]) => `, ${key.replaceAll("_", " ")} ${givenText(key, v)}`).join("");
    return (explorer.isMean(own.z) ? `mean of q(z | x) of ${own.image}` : "latent point") + at;
  }

  const decode = explorer.newest(own => explorer.decoded(own), (answer, own) => {
    if (timer) return;
    for (const id of ["now-image", "mini"]) byId(id).src = answer.image;
    const text = caption(own);
    byId("now-caption").textContent = text;
    const { cover } = answer;
    const thin = Boolean(cover && cover.thin);
    byId("now-cover").textContent = cover && !thin ? cover.says : "";
    byId("now-thin").hidden = !thin;
    byId("now-thin").textContent = thin ? cover.says : "";
    byId("now-image").alt = `Decoded image: ${text}`;
    explorer.speak(`Decoded ${text}.${thin ? ` ${cover.says}` : ""}`);
    change({ predicted: answer.predicted });
  });

  /** The controls of attributes by their kind: the element, its value, and how it shows one. */
  const CONTROLS = {
    classes: ({ classes }) => {
      const options = classes.map((textContent, value) => make("option", { textContent, value }));
      const input = make("select", {}, ...options);
      return { input, read: () => Number(input.value), put: v => { input.value = v; } };
    },
    two: ({ low, high }) => {
      const input = make("input", { type: "checkbox" });
      const put = v => { input.checked = v > (low + high) / 2; };
      return { input, read: () => (input.checked ? high : low), put };
    },
    number: ({ name, low, high }) => {
      const input = make("input", { type: "range", min: low, max: high, step: (high - low) / 200 });
      const put = v => {  // The value of the image may be beyond the usual range.
        const all = [low, high, v, explorer.chosen.given[name]];
        Object.assign(input, { min: Math.min(...all), max: Math.max(...all), value: v });
      };
      return { input, read: () => Number(input.value), put };
    },
  };

  /** The value of an attribute that the programs take, as text. */
  function givenText(name, value) {
    const { classes } = explorer.run.given.find(own => own.name === name) || {};
    return classes ? classes[value] : number(value);
  }

  /** Encodes the image again if it has an assumed value of an attribute, which was set. */
  function settle(name) {
    if (explorer.chosen.unknown.includes(name)) explorer.choose(state.image, { given: state.given });
    else commit();
  }

  function showGiven() {
    const { given } = explorer.run;
    byId("given").hidden = !given.length || !explorer.live();
    byId("given").append(...given.map(own => {
      const { input, read, put } = CONTROLS[own.kind](own);
      input.id = `given-${own.name}`;
      const value = make("output", { for: input.id, hidden: own.kind !== "number" });
      input.addEventListener("input", () => {
        stop();
        change({ given: { ...state.given, [own.name]: read() } });
      });
      input.addEventListener("change", () => settle(own.name));
      on(["given"], () => {
        const set = state.given[own.name] ?? own.usual;
        put(set);
        value.textContent = number(set);
      });
      const label = make("label", { htmlFor: input.id, textContent: own.name.replaceAll("_", " ") });
      return make("div", { className: own.kind === "two" ? "given two" : "given" }, input, label, value);
    }));
  }

  on(["image"], showImage);
  on(["z", "given", "place"], own => {
    if (timer && !("image" in own)) stop();
    if (state.z) decode({ ...state });
  });

  function startImage() {
    byId("play").addEventListener("click", () => { if (frames.length) play(); });
    byId("again").addEventListener("click", () => {
      seed += 1;
      loadDraws();
    });
    byId("again").hidden = !explorer.live();
    if (explorer.run.image[1] <= 32) document.documentElement.classList.add("small");
    showGiven();
    // Where the decoded image is out of sight, a small copy stays in a corner.
    new IntersectionObserver(([own]) => {
      byId("mini").hidden = own.isIntersecting || own.boundingClientRect.top > 0;
    }).observe(byId("now-image"));
  }

  Object.assign(explorer, { startImage });
})();
