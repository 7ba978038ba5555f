// A slider over a latent coordinate, with the aggregate posterior and q(z | x) on its track.
"use strict";

(() => {
  const { make, draw, number } = explorer;
  const WIDTH = 1000;
  const HEIGHT = 30;

  /** The drawing under the slider: the posterior of the image above, the aggregate below. */
  function track(own, low, high) {
    const x = value => Math.min(Math.max((value - low) / (high - low), 0), 1) * WIDTH;
    const bar = (a, b, y, height, name) => draw("rect", {
      x: x(a), y, width: Math.max(x(b) - x(a), 2), height, class: name,
    });
    const parts = [draw("rect", { x: 0, y: 15, width: WIDTH, height: 1.5, class: "line" })];
    if (own.quantiles) {
      const [q5, q25, q50, q75, q95] = own.quantiles;
      parts.push(bar(q5, q95, 20, 3, "wide"), bar(q25, q75, 20, 7, "inner"),
        draw("rect", { x: x(q50) - 2, y: 19, width: 4, height: 9, class: "median" }));
    }
    if (own.scale) {
      parts.push(
        bar(own.loc - 2 * own.scale, own.loc + 2 * own.scale, 1, 7, "two"),
        bar(own.loc - own.scale, own.loc + own.scale, 1, 7, "one"),
        draw("rect", { x: x(own.loc) - 2, y: 0, width: 4, height: 9, class: "mean" }));
    }
    return draw("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "track",
      "aria-hidden": "true",
    }, ...parts);
  }

  /** The position of an exported file nearest to a value; the value itself where all are allowed. */
  function snapped(positions, value) {
    if (!positions) return value;
    const far = positions.map(own => Math.abs(own - value));
    return positions[far.indexOf(Math.min(...far))];
  }

  const KEYS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };

  /** Arrow keys go from one position of an exported file to the next. */
  function walk(event, positions, input, moved, done) {
    const by = KEYS[event.key];
    if (!by) return;
    event.preventDefault();
    const rest = positions.filter(own => (own - Number(input.value)) * by > 1e-9);
    if (!rest.length) return;
    moved(by > 0 ? rest[0] : rest[rest.length - 1]);
    done();
  }

  /**
   * A row with a slider.
   *
   * `own` has id, label, note, low, high, loc, scale, quantiles, start (the value of reset) and
   * positions (of an exported file); `moved(value)` is called while it moves, `done()` after.
   */
  function slider(own, moved, done) {
    const { positions } = own;
    const low = positions ? positions[0] : own.low;
    const high = positions ? positions[positions.length - 1] : own.high;
    const step = positions ? "any" : (high - low) / 200;
    const input = make("input", { type: "range", min: low, max: high, step, id: own.id });
    const value = make("output", { for: own.id });
    input.addEventListener("input", () => moved(snapped(positions, Number(input.value))));
    input.addEventListener("change", done);
    if (positions) input.addEventListener("keydown", event => walk(event, positions, input, moved, done));
    const reset = make("button", { className: "reset", title: `Reset ${own.label}`, textContent: "↺" });
    reset.setAttribute("aria-label", `Reset ${own.label}`);
    reset.addEventListener("click", () => {
      moved(own.start);
      done();
    });
    const label = make("label", { htmlFor: own.id }, make("b", { textContent: own.label }),
      make("small", { textContent: own.note || "" }));
    const row = make("div", { className: "slider" }, label,
      make("div", { className: "rail" }, track(own, low, high), input), value, reset);
    row.show = (set, text) => {
      input.value = set;
      value.textContent = text || number(set);
      input.setAttribute("aria-valuetext", text || number(set));
      const same = Math.abs(set - own.start) <= 1e-6 * (1 + Math.abs(own.start));
      row.classList.toggle("moved", !same);
      reset.disabled = same;
    };
    return row;
  }

  Object.assign(explorer, { slider });
})();
