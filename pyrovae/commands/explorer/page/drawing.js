// The canvas of the map: places and pixels, points, shading of sparse regions, markers.
"use strict";

(() => {
  const { byId, make, css, state } = explorer;
  const canvas = byId("canvas");
  const context = canvas.getContext("2d");
  const size = { width: 1, height: 1, ratio: 1 };
  /** What is drawn: the map's answer, the colours of its points, and the keyboard's cursor. */
  const scene = { map: null, paint: null, stamps: [], shade: null, cursor: null, hovered: -1 };
  let planned = false;
  const MANY = 3000;
  /** Cells that the shading goes on beyond those that were measured, and its strength of 255. */
  const EDGE = 8;
  const SHADE = 150;
  const layer = { canvas: make("canvas"), pixels: null };

  const view = () => state.view || { x: 0, y: 0, span: 1 };
  const scale = () => Math.min(size.width, size.height) / view().span;
  const toX = x => size.width / 2 + (x - view().x) * scale();
  const toY = y => size.height / 2 - (y - view().y) * scale();
  const fromXY = (px, py) => [
    view().x + (px - size.width / 2) / scale(), view().y - (py - size.height / 2) / scale()];

  /** The view of all points but a share at each end of both axes. */
  function wholeView(share = 0) {
    const ends = [0, 1].map(k => {
      const own = scene.map.places.map(place => place[k]).sort((a, b) => a - b);
      const cut = Math.floor(share * own.length);
      return [own[cut], own[own.length - 1 - cut]];
    });
    const least = Math.min(size.width, size.height);
    const spans = [(ends[0][1] - ends[0][0]) * least / size.width,
      (ends[1][1] - ends[1][0]) * least / size.height];
    return {
      x: (ends[0][0] + ends[0][1]) / 2, y: (ends[1][0] + ends[1][1]) / 2,
      span: 1.08 * Math.max(...spans) || 1,
    };
  }

  /** The view at the start: without the outermost points, if these take half of the room. */
  function firstView() {
    const [whole, most] = [wholeView(), wholeView(0.01)];
    return 1.3 * most.span < 0.5 * whole.span ? { ...most, span: 1.3 * most.span } : whole;
  }

  const radius = () => {
    const room = size.width * size.height / Math.max(1, scene.map.places.length);
    const zoom = scene.all ? Math.sqrt(scene.all.span / view().span) : 1;
    return Math.min(6, Math.max(1.4, 0.11 * Math.sqrt(room)) * zoom);
  };

  /** One picture of a point per colour: pictures are drawn faster than paths. */
  function stampsOf(radiusNow) {
    const side = Math.ceil(2 * (radiusNow + 1) * size.ratio);
    return scene.paint.colours.map(colour => {
      const own = make("canvas", { width: side, height: side });
      const pen = own.getContext("2d");
      pen.fillStyle = colour;
      pen.beginPath();
      pen.arc(side / 2, side / 2, radiusNow * size.ratio, 0, 7);
      pen.fill();
      return own;
    });
  }

  /** Many points are written as pixels: that is ten times as fast as drawing them. */
  function drawPixels(r) {
    const { places } = scene.map;
    const [width, height] = [canvas.width, canvas.height];
    if (!layer.pixels || layer.canvas.width !== width || layer.canvas.height !== height) {
      Object.assign(layer.canvas, { width, height });
      layer.pixels = layer.canvas.getContext("2d").createImageData(width, height);
    }
    const buffer = new Uint32Array(layer.pixels.data.buffer).fill(0);
    const own = r * size.ratio;
    const reach = Math.ceil(own);
    const offsets = [];
    for (let i = -reach; i <= reach; i += 1) {
      for (let j = -reach; j <= reach; j += 1) {
        if (i * i + j * j <= own * own) offsets.push(i * width + j);
      }
    }
    for (let row = 0; row < places.length; row += 1) {
      const px = Math.round(toX(places[row][0]) * size.ratio);
      const py = Math.round(toY(places[row][1]) * size.ratio);
      if (px >= reach && py >= reach && px < width - reach && py < height - reach) {
        const at = py * width + px;
        const colour = scene.paint.words[scene.paint.index[row]];
        for (const by of offsets) buffer[at + by] = colour;
      }
    }
    const pen = layer.canvas.getContext("2d");
    pen.putImageData(layer.pixels, 0, 0);
    context.drawImage(layer.canvas, 0, 0, size.width, size.height);
  }

  function drawPoints() {
    const { places } = scene.map;
    const r = radius();
    context.globalAlpha = state.layers.thumbs || state.layers.grid ? 0.55 : 0.85;
    if (places.length > MANY) drawPixels(r);
    else drawStamps(r);
    context.globalAlpha = 1;
  }

  function drawStamps(r) {
    const { places } = scene.map;
    const key = `${r.toFixed(2)} ${size.ratio}`;
    if (scene.stampKey !== key) Object.assign(scene, { stamps: stampsOf(r), stampKey: key });
    const side = scene.stamps[0].width / size.ratio;
    for (let row = 0; row < places.length; row += 1) {
      const px = toX(places[row][0]);
      const py = toY(places[row][1]);
      if (px > -side && py > -side && px < size.width + side && py < size.height + side) {
        context.drawImage(
          scene.stamps[scene.paint.index[row]], px - side / 2, py - side / 2, side, side);
      }
    }
  }

  /**
   * The shading as a small picture: a cell is darker where fewer encodings are less covered.
   *
   * It goes on beyond the measured cells, and becomes dark: far away nothing is encoded.
   */
  function shadeOf(thin) {
    const [down, across] = [thin.rows.length, thin.rows[0].length];
    const own = make("canvas", { width: across + 2 * EDGE, height: down + 2 * EDGE });
    const pen = own.getContext("2d");
    const [r, g, b] = css("--shade").split(" ").map(Number);
    const cells = pen.createImageData(own.width, own.height);
    const level = thin.below ?? 0.01;
    const within = (k, count) => Math.min(Math.max(k, 0), count - 1);
    for (let i = -EDGE; i < down + EDGE; i += 1) {
      for (let j = -EDGE; j < across + EDGE; j += 1) {
        const share = thin.rows[within(i, down)][within(j, across)];
        const weight = share <= level ? 1 : Math.max(0, 1 - Math.log(share / level) / Math.log(20));
        const beyond = Math.hypot(i - within(i, down), j - within(j, across)) / EDGE;
        const at = 4 * ((down - 1 - i + EDGE) * own.width + j + EDGE);
        cells.data.set([r, g, b, Math.round(SHADE * Math.min(1, weight + beyond))], at);
      }
    }
    pen.putImageData(cells, 0, 0);
    return own;
  }

  function drawShade() {
    const { thin } = scene.map;
    if (!thin || !state.layers.thin) return;
    scene.shade = scene.shade || shadeOf(thin);
    const cell = [0, 1].map(k => (
      (thin.high[k] - thin.low[k]) / (k ? thin.rows : thin.rows[0]).length * EDGE));
    const [left, top] = [toX(thin.low[0] - cell[0]), toY(thin.high[1] + cell[1])].map(Math.round);
    const [right, bottom] = [toX(thin.high[0] + cell[0]), toY(thin.low[1] - cell[1])].map(Math.round);
    context.imageSmoothingEnabled = true;
    context.drawImage(scene.shade, left, top, right - left, bottom - top);
    const [r, g, b] = css("--shade").split(" ").map(Number);
    context.fillStyle = `rgba(${r},${g},${b},${SHADE / 255})`;
    context.beginPath();
    context.rect(0, 0, size.width, size.height);
    context.rect(left, top, right - left, bottom - top);
    context.fill("evenodd");
  }

  function ring(place, text, colour, side = 1) {
    if (!place) return;
    const [px, py] = [toX(place[0]), toY(place[1])];
    for (const [width, style] of [[5, css("--paper")], [2.5, colour]]) {
      context.lineWidth = width;
      context.strokeStyle = style;
      context.beginPath();
      context.arc(px, py, 8, 0, 7);
      context.stroke();
    }
    if (!text) return;
    context.font = "bold 12px system-ui, sans-serif";
    context.lineWidth = 4;
    context.strokeStyle = css("--paper");
    const beyond = px + 16 + context.measureText(text).width > size.width;
    const by = side > 0 && !beyond ? 12 : -12;
    context.textAlign = by > 0 ? "left" : "right";
    context.strokeText(text, px + by, py + 4);
    context.fillStyle = css("--ink");
    context.fillText(text, px + by, py + 4);
  }

  function cross(px, py, arm) {
    for (const [width, style] of [[4, css("--paper")], [1.5, css("--ink")]]) {
      context.lineWidth = width;
      context.strokeStyle = style;
      context.beginPath();
      context.moveTo(px - arm, py);
      context.lineTo(px + arm, py);
      context.moveTo(px, py - arm);
      context.lineTo(px, py + arm);
      context.stroke();
    }
  }

  const onMap = place => place && place[2] === state.method;

  /** The place of an image on the shown map, if it has one. */
  function placeOf(name) {
    const { chosen } = explorer;
    const row = scene.map.names.indexOf(name);
    if (row >= 0) return scene.map.places[row];
    return chosen && chosen.name === name && chosen.place ? chosen.place[state.method] : null;
  }

  function drawMarkers() {
    const { chosen } = explorer;
    if (!explorer.live()) {  // The images that the file holds in full.
      for (const name of explorer.run.images) {
        if (name !== state.image) ring(placeOf(name), name, css("--soft"));
      }
    }
    ring(chosen && placeOf(chosen.name), state.image, css("--shown"));
    if (onMap(state.place)) ring(state.place, "decoded", css("--mark"));
    for (const end of ["a", "b"]) {
      const own = state[end] && (onMap(state[end].place) ? state[end].place : placeOf(state[end].label));
      ring(own, end.toUpperCase(), css("--mark"), -1);
    }
    if (scene.hovered >= 0) ring(scene.map.places[scene.hovered], "", css("--ink"));
    if (scene.cursor) cross(scene.cursor[0], scene.cursor[1], 12);
  }

  function paintNow() {
    planned = false;
    context.setTransform(size.ratio, 0, 0, size.ratio, 0, 0);
    context.fillStyle = css("--paper");
    context.fillRect(0, 0, size.width, size.height);
    if (!scene.map) {
      context.font = "14px system-ui, sans-serif";
      context.textAlign = "center";
      context.fillStyle = css("--soft");
      context.fillText(`Computing ${state.method} …`, size.width / 2, size.height / 2);
    }
    if (!scene.map || !scene.paint) return;
    if (state.layers.grid) explorer.drawGrid(context);
    drawShade();
    drawPoints();
    if (state.layers.thumbs) explorer.drawThumbs(context);
    drawMarkers();
  }

  /** Draws the map at the next frame of the screen. */
  function redraw() {
    if (!planned) requestAnimationFrame(paintNow);
    planned = true;
  }

  function resize() {
    const box = byId("ground").getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    Object.assign(size, { width: box.width, height: box.height, ratio });
    canvas.width = Math.round(box.width * ratio);
    canvas.height = Math.round(box.height * ratio);
    if (scene.map) scene.all = wholeView();
    redraw();
  }

  /** The point within reach of a pixel, or -1. */
  function pointAt(px, py) {
    const reach = Math.max(6, radius() + 2);
    let best = -1;
    let least = reach * reach;
    if (!scene.map) return best;
    scene.map.places.forEach((own, row) => {
      const far = (toX(own[0]) - px) ** 2 + (toY(own[1]) - py) ** 2;
      if (far < least) [best, least] = [row, far];
    });
    return best;
  }

  Object.assign(explorer, {
    canvas, scene, size, view, scale, toX, toY, fromXY, wholeView, firstView, redraw, resize, pointAt,
  });
})();
