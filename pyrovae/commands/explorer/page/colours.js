// The colours of points: a ramp for numbers, distinct colours for classes, and the legend.
"use strict";

(() => {
  const { byId, make, number } = explorer;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  /** Viridis, from low to high on dark ground. */
  const VIRIDIS = ["#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884",
    "#44bf70", "#7ad151", "#bddf26", "#fde725"];
  const CLASSES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000",
    "#882255", "#999933", "#44aa99"];
  const MANY = 32;

  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const rgb = hex => [1, 3, 5].map(start => parseInt(hex.slice(start, start + 2), 16));

  /** The ramp at a share from 0 to 1: more is darker on light ground, brighter on dark. */
  function ramp(share) {
    const own = dark.matches ? VIRIDIS : [...VIRIDIS].reverse();
    const at = Math.min(Math.max(share, 0), 1) * (own.length - 1);
    const low = Math.min(Math.floor(at), own.length - 2);
    const [a, b] = [rgb(own[low]), rgb(own[low + 1])];
    return `rgb(${a.map((v, i) => Math.round(v + (b[i] - v) * (at - low))).join(",")})`;
  }

  /** Hues around the circle, dark and light in turn: of many classes no two have one colour. */
  function hue(share, light) {
    const part = n => {
      const k = (n + 12 * share) % 12;
      return Math.round(255 * (light - 0.8 * Math.min(light, 1 - light)
        * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
    };
    return `rgb(${part(0)},${part(8)},${part(4)})`;
  }

  /** The colour of class `k` of `count`. */
  function classColour(k, count) {
    if (count > CLASSES.length) return hue(k / count, k % 2 ? 0.7 : 0.4);
    return CLASSES[k] === "#000000" && dark.matches ? "#ffffff" : CLASSES[k];
  }

  /** The ends of the ramp: the answer's, or all but the outermost hundredth of the values. */
  function ends(answer) {
    if (Number.isFinite(answer.low) && Number.isFinite(answer.high)) return [answer.low, answer.high];
    const known = answer.values.filter(v => v !== null && Number.isFinite(v)).sort((a, b) => a - b);
    if (!known.length) return [0, 1];
    const cut = Math.floor(known.length / 100);
    return [known[cut], known[known.length - 1 - cut]];
  }

  /** A colour as the four bytes of a pixel. */
  function word(colour) {
    const own = colour.startsWith("#") ? rgb(colour) : colour.match(/\d+/g).map(Number);
    return new Uint32Array(new Uint8ClampedArray([...own, 255]).buffer)[0];
  }

  const painted = (colours, index) => ({ colours, index, words: colours.map(word) });

  /** For each point the index of its colour; the last colour is that of unknown values. */
  function paint(answer) {
    const unknown = css("--neutral");
    if (answer.kind === "number") {
      const [low, high] = ends(answer);
      const span = high - low || 1;
      const colours = Array.from({ length: MANY }, (_, k) => ramp(k / (MANY - 1)));
      const index = answer.values.map(v => (v === null ? MANY : Math.min(MANY - 1,
        Math.max(0, Math.round((v - low) / span * (MANY - 1))))));
      return painted([...colours, unknown], index);
    }
    const count = Math.max(answer.classes.length, 2);
    const colours = Array.from({ length: count }, (_, k) => classColour(k, count));
    return painted([...colours, unknown], answer.values.map(v => (v === null ? count : v)));
  }

  /** The value of a point, as text. */
  function named(answer, row) {
    const value = answer.values[row];
    if (value === null || value === undefined) return "unknown";
    if (answer.kind === "number") return `${number(value)} ${answer.unit}`.trim();
    return answer.classes[value] ?? String(value);
  }

  function legend(answer, name) {
    const own = byId("legend");
    own.replaceChildren(make("b", { textContent: name.replaceAll("_", " ") }));
    if (answer.kind === "number") {
      const [low, high] = ends(answer);
      const strip = make("canvas", { width: 128, height: 1, className: "ramp" });
      const context = strip.getContext("2d");
      for (let k = 0; k < 128; k += 1) {
        context.fillStyle = ramp(k / 127);
        context.fillRect(k, 0, 1, 1);
      }
      const beyond = side => (answer.values.some(v => v !== null && side(v)));
      const [least, most] = [beyond(v => v < low) ? "≤ " : "", beyond(v => v > high) ? "≥ " : ""];
      own.append(make("span", { textContent: least + number(low) }), strip,
        make("span", { textContent: `${most}${number(high)} ${answer.unit || ""}` }));
    } else {
      answer.classes.forEach((text, k) => {
        const mark = make("i");
        mark.style.background = classColour(k, answer.classes.length);
        own.append(make("span", {}, mark, String(text)));
      });
    }
    if (answer.values.some(v => v === null)) {
      const mark = make("i");
      mark.style.background = css("--neutral");
      own.append(make("span", {}, mark, answer.done < 1
        ? `not yet computed (${Math.round(100 * answer.done)}% done)` : "unknown"));
    }
  }

  Object.assign(explorer, { css, dark, paint, named, legend });
})();
