// Layers of pictures on the map: thumbnails of images, and places decoded on a grid.
"use strict";

(() => {
  const { state, scene, size, view, toX, toY, fromXY, loaded, fail } = explorer;
  /** Sides of thumbnails and of cells of the ground on the screen, in pixels. */
  const THUMB = 36;
  const CELL = 44;
  const AT_ONCE = 32;
  /** Decoded cells that are kept. */
  const MOST = 4000;
  const thumbs = new Map();
  const cells = new Map();
  let thumbsBusy = false;
  let gridBusy = false;

  /** The side of a cell in places, one of `steps` per doubling: cells stay while the map moves. */
  function side(pixels, steps) {
    const wanted = pixels * view().span / Math.min(size.width, size.height);
    return 2 ** (Math.ceil(Math.log2(wanted) * steps) / steps);
  }

  let chosen = { map: null, own: 0, rows: [] };
  /** Rows of the map whose thumbnails do not overlap: the first ones that have room. */
  function apart() {
    const own = side(THUMB + 5, 4);
    if (chosen.map === scene.map && chosen.own === own) return chosen.rows;
    const held = explorer.live() ? null : new Set(sheetRows());
    const { places } = scene.map;
    const taken = new Map();
    const free = (x, y) => {
      for (let i = -1; i <= 1; i += 1) {
        for (let j = -1; j <= 1; j += 1) {
          const other = taken.get(`${Math.floor(x / own) + i} ${Math.floor(y / own) + j}`);
          if (other && Math.abs(other[0] - x) < own && Math.abs(other[1] - y) < own) return false;
        }
      }
      return true;
    };
    const rows = [];
    places.forEach((place, row) => {
      if ((held && !held.has(row)) || !free(...place)) return;
      taken.set(`${Math.floor(place[0] / own)} ${Math.floor(place[1] / own)}`, place);
      rows.push(row);
    });
    chosen = { map: scene.map, own, rows };
    return rows;
  }

  function inView() {
    const [left, top] = fromXY(-THUMB, -THUMB);
    const [right, bottom] = fromXY(size.width + THUMB, size.height + THUMB);
    return apart().filter(row => {
      const [x, y] = scene.map.places[row];
      return x > left && x < right && y > bottom && y < top;
    });
  }

  /** The rows of the thumbnails in an exported file: the first ones, unless it names them. */
  function sheetRows() {
    const { rows, count } = explorer.thumbnails();
    return rows || Array.from({ length: count || scene.map.places.length }, (_, k) => k);
  }

  /** Fetches the thumbnails that are missing, 400 at once. */
  async function fetchThumbs() {
    if (thumbsBusy) return;
    thumbsBusy = true;
    try {
      for (;;) {
        if (!state.layers.thumbs || !scene.map) break;
        const rows = inView().filter(row => !thumbs.has(row)).slice(0, 200);
        if (!rows.length) break;
        if (explorer.live()) {
          const answer = await explorer.later("thumbs", { rows, size: 32 });
          const sprite = await loaded(answer.sprite);
          rows.forEach((row, k) => thumbs.set(row, { sprite, k, count: rows.length }));
        } else {
          const sprite = await loaded(explorer.thumbnails().sprite);
          const held = sheetRows();
          held.forEach((row, k) => thumbs.set(row, { sprite, k, count: held.length }));
        }
        explorer.redraw();
      }
    } catch (error) {
      fail(error);
    }
    thumbsBusy = false;
  }

  function drawThumbs(pen) {
    for (const row of inView()) {
      const own = thumbs.get(row);
      if (!own) continue;
      const width = own.sprite.naturalWidth / own.count;
      const height = own.sprite.naturalHeight;
      const drawn = { w: THUMB * Math.min(1, width / height), h: THUMB * Math.min(1, height / width) };
      const [x, y] = scene.map.places[row];
      const [left, top] = [toX(x) - drawn.w / 2, toY(y) - drawn.h / 2];
      pen.fillStyle = scene.paint.colours[scene.paint.index[row]];
      pen.fillRect(left - 2, top - 2, drawn.w + 4, drawn.h + 4);
      pen.drawImage(own.sprite, own.k * width, 0, width, height, left, top, drawn.w, drawn.h);
    }
    fetchThumbs();
  }

  /** The cells of the ground in view, the middle first. */
  function shownCells() {
    const own = side(CELL, 2);
    const [left, top] = fromXY(0, 0);
    const [right, bottom] = fromXY(size.width, size.height);
    const found = [];
    for (let i = Math.floor(left / own); i * own < right; i += 1) {
      for (let j = Math.floor(bottom / own); j * own < top; j += 1) {
        const place = [(i + 0.5) * own, (j + 0.5) * own];
        found.push({ key: `${state.method} ${own} ${i} ${j}`, own, place });
      }
    }
    const far = ({ place }) => Math.hypot(place[0] - view().x, place[1] - view().y);
    return found.sort((a, b) => far(a) - far(b));
  }

  async function fetchCells() {
    if (gridBusy || !explorer.live()) return;
    gridBusy = true;
    try {
      while (state.layers.grid && scene.map) {
        const missing = shownCells().filter(({ key }) => !cells.has(key)).slice(0, AT_ONCE);
        if (!missing.length) break;
        const { method, given } = state;
        const answer = await explorer.later("ground", { method, given, places: missing.map(c => c.place) });
        const images = await Promise.all(answer.images.map(loaded));
        if (cells.size > MOST) cells.clear();
        if (given === state.given) missing.forEach(({ key }, k) => cells.set(key, images[k]));
        explorer.redraw();
      }
    } catch (error) {
      fail(error);
      explorer.change({ layers: { ...state.layers, grid: false } });
    }
    gridBusy = false;
  }

  /** The grid of an exported file: its own places. */
  async function fetchHeld() {
    const grid = explorer.ground();
    if (gridBusy || !grid || scene.held) return;
    gridBusy = true;
    const images = await Promise.all(grid.images.map(loaded));
    const across = [...new Set(grid.places.map(own => own[0]))].sort((a, b) => a - b);
    scene.held = { images, places: grid.places, own: Math.abs(across[1] - across[0]) };
    gridBusy = false;
    explorer.redraw();
  }

  function tile(pen, image, place, own) {
    const [w, h] = [toX(place[0] + own) - toX(place[0]), toY(place[1]) - toY(place[1] + own)];
    pen.drawImage(image, toX(place[0]) - w / 2 + 0.5, toY(place[1]) - h / 2 + 0.5, w - 1, h - 1);
  }

  function drawGrid(pen) {
    if (!explorer.live()) {
      if (scene.held && state.method === "PCA") {
        scene.held.images.forEach((image, k) => tile(pen, image, scene.held.places[k], scene.held.own));
      }
      fetchHeld();
      return;
    }
    for (const { key, place, own } of shownCells()) {
      if (cells.has(key)) tile(pen, cells.get(key), place, own);
    }
    fetchCells();
  }

  explorer.on(["given"], () => { cells.clear(); explorer.redraw(); });
  Object.assign(explorer, { drawThumbs, drawGrid, thumbOf: row => thumbs.get(row) });
})();
