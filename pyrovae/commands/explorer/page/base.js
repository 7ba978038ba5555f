// What all parts of the page share: elements, numbers as text, sprites, messages.
"use strict";

const explorer = {};

(() => {
  const byId = id => document.getElementById(id);

  /** An element with properties and children. */
  function make(tag, properties = {}, ...children) {
    const own = document.createElement(tag);
    for (const [key, value] of Object.entries(properties)) {
      if (key.startsWith("aria-") || key === "role" || key === "for") own.setAttribute(key, value);
      else own[key] = value;
    }
    own.append(...children);
    return own;
  }

  /** An element of a drawing. */
  function draw(tag, attributes = {}, ...children) {
    const own = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) own.setAttribute(key, value);
    own.append(...children);
    return own;
  }

  /** A number with about `digits` significant digits. */
  function number(value, digits = 3) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    if (Number.isInteger(value) && size < 1e4) return String(value).replace("-", "−");
    if (size < 1e-3 || size >= 1e6) return value.toExponential(1);
    const places = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
    const text = value.toFixed(Math.min(places, 4)).replace("-", "−");
    return places ? text : text.replace(/\B(?=(\d{3})+$)/g, ",");
  }

  const percent = share => {
    const value = 100 * share;
    return `${value > 0 && value < 1 ? "< 1" : value.toFixed(0)}%`;
  };

  /** The image of a data URL, once it can be drawn. */
  async function loaded(url) {
    const own = new Image();
    own.src = url;
    await own.decode();
    return own;
  }

  /** Frame `index` of a sprite of `count` frames in one row, as a canvas. */
  function frame(sprite, index, count) {
    const width = sprite.naturalWidth / count;
    const own = make("canvas", { width, height: sprite.naturalHeight });
    own.getContext("2d").drawImage(
      sprite, index * width, 0, width, sprite.naturalHeight, 0, 0, width, sprite.naturalHeight);
    return own;
  }

  const frameURL = (sprite, index, count) => frame(sprite, index, count).toDataURL("image/png");

  let faultTimer = 0;
  /** Shows an error in one line until the next one, or for ten seconds. */
  function fail(error) {
    const own = byId("fault");
    own.textContent = error.message || String(error);
    own.hidden = false;
    clearTimeout(faultTimer);
    faultTimer = setTimeout(() => { own.hidden = true; }, 10000);
  }

  /** Takes back the error, when the user tries again. */
  const retry = () => { byId("fault").hidden = true; };

  let spokenTimer = 0;
  /** Tells a screen reader, once the text has stood for a moment. */
  function speak(text) {
    clearTimeout(spokenTimer);
    spokenTimer = setTimeout(() => { byId("spoken").textContent = text; }, 300);
  }

  const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  Object.assign(explorer, {
    byId, make, draw, number, percent, loaded, frame, frameURL, fail, retry, speak, calm,
  });
})();
