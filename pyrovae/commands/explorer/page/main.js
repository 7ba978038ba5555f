// Starts the page: header, tabs, files, keys that work everywhere.
"use strict";

(() => {
  const { byId, make, state, on, change, fail, step } = explorer;
  const TABS = [["sliders", "Sliders"], ["directions", "Directions"], ["attributes", "Attributes"],
    ["between", "Between"], ["nearest", "Nearest"]];

  /** Arrow keys move the focus within a group, and choose. */
  function arrows(group, selector, choose) {
    group.addEventListener("keydown", event => {
      const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      if (!by) return;
      const all = [...group.querySelectorAll(selector)];
      const next = all[(all.indexOf(document.activeElement) + by + all.length) % all.length];
      event.preventDefault();
      next.focus();
      choose(next);
    });
  }

  function startTabs() {
    for (const [key, text] of TABS) {
      const tab = make("button",
        { role: "tab", id: `tab-${key}`, "aria-controls": `panel-${key}`, textContent: text });
      tab.addEventListener("click", () => change({ tab: key }));
      byId("tabs").append(tab);
      byId("panels").append(make("div",
        { role: "tabpanel", id: `panel-${key}`, "aria-labelledby": `tab-${key}` }));
    }
    arrows(byId("tabs"), "[role=tab]", own => own.click());
  }

  function showTab(own, patch) {
    if (!TABS.some(([key]) => key === state.tab)) state.tab = "sliders";
    for (const [key] of TABS) {
      const chosen = key === state.tab;
      byId(`tab-${key}`).setAttribute("aria-selected", String(chosen));
      byId(`tab-${key}`).tabIndex = chosen ? 0 : -1;
      byId(`panel-${key}`).hidden = !chosen;
    }
    const panel = byId(`panel-${state.tab}`);
    if (!("image" in patch)) byId("panels").scrollTop = 0;
    if (["between", "nearest"].includes(state.tab)) explorer.showBetween(state.tab, panel);
    else explorer.load(state.tab, panel);
  }

  async function open(file) {
    if (!file || !explorer.run.uploads) return;
    explorer.retry();
    try {
      explorer.show(await explorer.upload(await file.arrayBuffer()));
    } catch (error) {
      fail(error);
    }
  }

  /** Copies text, or shows it where the browser does not allow that. */
  async function copy(text, what) {
    try {
      await navigator.clipboard.writeText(text);
      explorer.speak(`${what} copied.`);
      notice(`${what} copied.`);
    } catch {
      byId("text-says").textContent = `${what}:`;
      byId("text-value").value = text;
      byId("text").showModal();
      byId("text-value").select();
    }
  }

  let noticeTimer = 0;
  function notice(text) {
    const own = byId("notice") || document.body.appendChild(make("p", { id: "notice" }));
    own.textContent = text;
    own.hidden = false;
    clearTimeout(noticeTimer);
    noticeTimer = setTimeout(() => { own.hidden = true; }, 2000);
  }

  /** The point as Python that decodes it. */
  function python() {
    const { run } = explorer;
    const numbers = z => z.map(v => Number(v.toPrecision(7))).join(", ");
    const where = JSON.stringify(run.path || run.name);
    const start = `import torch\nimport pyrovae\n\nvae = pyrovae.load(${where})\n`;
    if (run.sites.length === 1 && !run.given.length) {
      return `${start}z = torch.tensor([[${numbers(state.z)}]])\n`
        + "image = vae.show(z)  # (1, C, H, W), in [0, 1]; vae.decode(z) is p(x | z)\n";
    }
    const sites = run.sites.map(({ name, start: a, stop: b }) => (
      `    ${JSON.stringify(name)}: torch.tensor([[${numbers(state.z.slice(a, b))}]]),\n`)).join("");
    const given = run.given.map(({ name, usual }) => state.given[name] ?? usual);
    const inputs = given.length ? `, **vae.inputs(torch.tensor([[${given.join(", ")}]]))` : "";
    return `import pyro\n${start}z = {\n${sites}}\n`
      + "model = pyro.poutine.trace(pyro.condition(vae.model, data=z))\n"
      + `x = model.get_trace(num_images=1${inputs}).nodes["x"]["fn"]  # p(x | z)\n`
      + "image = vae.likelihood.to_images(x)  # (1, C, H, W), in [0, 1]\n";
  }

  function save() {
    const name = `${state.image}_${byId("now-caption").textContent}`.replace(/[^\w.-]+/g, "_").slice(0, 60);
    const own = make("a", { href: byId("now-image").src, download: `${name}.png` });
    own.click();
  }

  function startHeader() {
    const { run } = explorer;
    const shape = run.image.slice(1).join("×");
    byId("about").textContent = [
      run.name, `${run.count.toLocaleString("en")} images of the ${run.split} split`,
      `${shape} px`, `${run.dims.length} latents`].join(" · ");
    byId("notes").textContent = (run.notes || []).join(" ");
    document.title = `${run.name} – pyrovae explorer`;
    byId("names").append(...run.images.map(own => make("option", { value: own })));
    byId("choose").addEventListener("submit", event => {
      event.preventDefault();
      explorer.retry();
      explorer.choose(byId("name").value.trim());
    });
    byId("file").addEventListener("change", event => {
      open(event.target.files[0]);
      event.target.value = "";
    });
    byId("file-button").hidden = !run.uploads;
    byId("undo").addEventListener("click", () => step(-1));
    byId("redo").addEventListener("click", () => step(1));
    byId("link").addEventListener("click", () => {
      copy(location.href.split("#")[0] + explorer.link(), "Link");
    });
    byId("python").addEventListener("click", () => copy(python(), "Python code"));
    byId("png").addEventListener("click", save);
  }

  function startKeys() {
    document.addEventListener("keydown", event => {
      const typing = event.target.matches("input:not([type=range]), textarea");
      if (typing || !(event.ctrlKey || event.metaKey)) return;
      const key = event.key.toLowerCase();
      if (key === "z") step(event.shiftKey ? 1 : -1);
      else if (key === "y") step(1);
      else return;
      event.preventDefault();
    });
    document.addEventListener("dragover", event => {
      event.preventDefault();
      document.body.classList.toggle("dropping", explorer.run.uploads);
    });
    document.addEventListener("dragleave", () => document.body.classList.remove("dropping"));
    document.addEventListener("drop", event => {
      event.preventDefault();
      document.body.classList.remove("dropping");
      open(event.dataTransfer.files[0]);
    });
    window.addEventListener("hashchange", () => explorer.restore());
  }

  on(["tab", "image"], showTab);
  on(["steps"], (own, { steps: [at, count] }) => {
    byId("undo").disabled = at <= 0;
    byId("redo").disabled = at >= count - 1;
  });

  async function start() {
    explorer.openFile();
    try {
      explorer.run = await explorer.ask("run");
    } catch (error) {
      fail(error);
      return;
    }
    const named = explorer.run.colours.map(own => own.name);
    explorer.firstColour = () => named[0];
    startHeader();
    startTabs();
    explorer.startImage();
    explorer.startMap();
    startKeys();
    await explorer.restore();
    document.documentElement.classList.add("ready");
  }

  Object.assign(explorer, { arrows });
  document.addEventListener("DOMContentLoaded", start);
})();
