// The latent browser: filters over typed columns, a list that draws the rows in view alone, and a
// dashboard per latent, opened by the address #latent-N.
(() => {
  const index = JSON.parse($("browser-data").textContent);
  const n = index.n_latents;
  const words = {}, column = {};
  for (const [name, values] of Object.entries(index.columns)) {
    if (values.names) { words[name] = values.names; column[name] = Uint8Array.from(values.codes); }
    else column[name] = Float64Array.from(values, (value) => value === null ? NaN : value);
  }
  const shown = index.dashboards;
  const place = new Int32Array(n).fill(-1);
  shown.latent.forEach((latent, at) => { place[latent] = at; });
  const factsOf = (latent) => {
    const facts = { latent };
    for (const name of Object.keys(column)) {
      const value = column[name][latent];
      facts[name] = words[name] ? words[name][value] : Number.isNaN(value) ? null : value;
    }
    if (facts.change !== null) facts.change_kind = index.change_kinds[facts.change];
    return facts;
  };

  // Filters. A range filter is two number inputs named low-COLUMN and high-COLUMN.
  const form = $("filter"), list = $("list"), canvas = $("rows"), found = $("found");
  const ranges = [...form.querySelectorAll("[data-range]")].map((box) => ({
    name: box.dataset.range, scale: +box.dataset.scale, inputs: [...box.querySelectorAll("input")],
  }));
  const lastSource = index.sources.at(-1);
  let matched = new Uint32Array(0), open = null, active = 0;

  const order = (rows) => {
    const [name, sign] = [form.elements.sort.value, form.elements.down.checked ? -1 : 1];
    if (name === "latent") return sign < 0 ? rows.reverse() : rows;
    const key = column[name];
    // Unknown values last, ties by number.
    return rows.sort((a, b) => {
      const [x, y] = [key[a], key[b]];
      if (x === y || (x !== x && y !== y)) return a - b;
      return x !== x ? 1 : y !== y ? -1 : sign * (x - y);
    });
  };
  const filter = () => {
    const verdicts = words.verdict.map((name) => form.elements["verdict-" + name]?.checked ?? false);
    const mostly = column[form.elements.source.value]; // none: on anything
    const limits = ranges.map(({ name, scale, inputs: [low, high] }) => ({
      key: column[name],
      low: low.value === "" ? null : low.valueAsNumber / scale,
      high: high.value === "" ? null : high.valueAsNumber / scale,
    })).filter(({ low, high }) => low !== null || high !== null);
    const wanted = form.elements.find.value.trim().toLowerCase();
    const asNumber = /^#?\d+$/.test(wanted) ? +wanted.replace("#", "") : -1;
    const only = form.elements.only.checked;
    const kind = form.elements.change?.value ?? "";
    const under = (i) => !kind || (!Number.isNaN(column.change[i]) && (kind === "some" || index.change_kinds[column.change[i]] === kind));
    const rows = new Uint32Array(n);
    let count = 0;
    for (let i = 0; i < n; i++) {
      if (!verdicts[column.verdict[i]] || (mostly && !(mostly[i] >= 0.5)) || !under(i) || (only && place[i] < 0)) continue;
      // Written so that an unknown value is outside every range.
      if (!limits.every(({ key, low, high }) => (low === null || key[i] >= low) && (high === null || key[i] <= high))) continue;
      if (wanted && i !== asNumber && (place[i] < 0 || !shown.text[place[i]].includes(wanted))) continue;
      rows[count++] = i;
    }
    matched = order(rows.slice(0, count));
    found.textContent = count.toLocaleString("en") + " of " + n.toLocaleString("en") + " latents";
    active = 0;
    list.scrollTop = 0;
    clear();
    draw();
  };

  // What passes all filters, in the order of the list, as a file: every column, unknown cells empty.
  $("save-csv").addEventListener("click", () => {
    const names = ["latent", ...Object.keys(column)];
    const cell = (value) => {
      const text = value === null || value === undefined ? "" : String(value);
      return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
    };
    const lines = [names, ...Array.from(matched, (latent) => {
      const facts = factsOf(latent);
      return names.map((name) => facts[name]);
    })].map((cells) => cells.map(cell).join(",") + "\n");
    const address = URL.createObjectURL(new Blob(lines, { type: "text/csv" }));
    h("a", { href: address, download: "latents.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  });

  // The list: rows of equal height, and of them only those in view are in the document.
  const rowHeight = 58, spare = 6;
  const rows = new Map();
  const clear = () => { canvas.replaceChildren(); rows.clear(); canvas.style.height = matched.length * rowHeight + "px"; };
  const draw = () => {
    const first = Math.max(0, Math.floor(list.scrollTop / rowHeight) - spare);
    const last = Math.min(matched.length, Math.ceil((list.scrollTop + list.clientHeight) / rowHeight) + spare);
    for (const [at, row] of rows) if ((at < first || at >= last) && !row.contains(document.activeElement)) { row.remove(); rows.delete(at); }
    for (let at = first; at < last; at++) if (!rows.has(at)) { const row = rowOf(at); rows.set(at, row); canvas.append(row); }
    $("empty").hidden = matched.length > 0;
  };
  const rowOf = (at) => {
    const latent = matched[at], verdict = words.verdict[column.verdict[latent]], dash = place[latent];
    const value = (name, text, label) => h("span", { class: "v " + name, title: label }, text);
    const figure = (name, digits) => fixed(Number.isNaN(column[name][latent]) ? null : column[name][latent], digits);
    const snippet = dash < 0 ? null : shown.snippet[dash];
    const link = h("a", {
      href: "#latent-" + latent, class: "row", tabindex: at === active ? 0 : -1, "data-at": at,
      "aria-current": latent === open ? "true" : false,
    },
    h("span", { class: "line" },
      value("id", latent), h("span", { class: "v word " + verdict }, VERDICTS[verdict]),
      value("r", figure("relative_norm", 2), "relative norm r"), value("cos", figure("decoder_cosine", 2), "decoder cosine"),
      value("nu", figure("nu_eps", 2), "ν of the error"), value("rate", percent(column.rate_all[latent]), "share of tokens it fires on"),
      value("share", percent(column["share_" + lastSource][latent]), "share of its firing that is on " + lastSource)),
    h("span", { class: "line snippet" }, ...(snippet && snippet[1] !== ""
      ? [visible(snippet[0]).slice(-24), h("mark", {}, named(snippet[1])), visible(snippet[2])]
      : [h("span", { class: "quiet" }, verdict === "dead" ? "never fires" : dash < 0 ? "no dashboard" : "")])));
    return h("div", {
      class: "slot", role: "listitem", "aria-setsize": matched.length, "aria-posinset": at + 1, "--y": at * rowHeight + "px",
    }, link);
  };
  const move = (to) => {
    if (!matched.length) return;
    const before = rows.get(active);
    if (before) before.firstChild.tabIndex = -1;
    active = Math.max(0, Math.min(matched.length - 1, to));
    const top = active * rowHeight;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + rowHeight > list.scrollTop + list.clientHeight) list.scrollTop = top + rowHeight - list.clientHeight;
    draw();
    const link = rows.get(active).firstChild;
    link.tabIndex = 0;
    link.focus({ preventScroll: true });
  };
  const page = () => Math.max(1, Math.floor(list.clientHeight / rowHeight) - 1);
  const keys = {
    ArrowDown: () => active + 1, ArrowUp: () => active - 1, Home: () => 0, End: () => matched.length - 1,
    PageDown: () => active + page(), PageUp: () => active - page(),
  };
  list.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    move(keys[event.key]());
  });
  list.addEventListener("focusin", (event) => { const at = event.target.dataset?.at; if (at !== undefined) active = +at; });
  let waiting = false;
  list.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }, { passive: true });
  new ResizeObserver(draw).observe(list);

  // Dashboards: unpacked when opened, the last few packs remembered.
  const packs = new Map();
  const unpack = async (at) => {
    if (packs.has(at)) return packs.get(at);
    const bytes = Uint8Array.from(atob($("pack-" + at).textContent), (c) => c.charCodeAt(0));
    const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    const records = JSON.parse(text);
    if (packs.size >= 8) packs.delete(packs.keys().next().value);
    packs.set(at, records);
    return records;
  };
  const recordOf = async (latent) => {
    const at = place[latent];
    if (at < 0) return null;
    return (await unpack(Math.floor(at / index.pack_latents)))[at % index.pack_latents];
  };
  const show = async (latent, focus) => {
    open = latent;
    const record = await recordOf(latent);
    if (open !== latent) return; // another one was opened meanwhile
    const at = matched.indexOf(latent);
    const beside = {
      previous: at > 0 ? matched[at - 1] : null,
      next: at >= 0 && at + 1 < matched.length ? matched[at + 1] : null,
    };
    const panel = $("dashboard");
    panel.replaceChildren(...dashboard(factsOf(latent), record, beside, shown.latent.length > 0, place[latent] < 0 ? "" : shown.why[place[latent]]));
    panel.setAttribute("aria-labelledby", "dash-title");
    panel.scrollTop = 0;
    for (const [i, row] of rows) {
      if (matched[i] === latent) row.firstChild.setAttribute("aria-current", "true");
      else row.firstChild.removeAttribute("aria-current");
    }
    if (at >= 0 && !rows.has(at)) { list.scrollTop = Math.max(0, at * rowHeight - list.clientHeight / 3); draw(); }
    panel.dataset.latent = latent;
    if (focus) {
      // Where list and dashboard stand side by side the section is shown, else the dashboard.
      const narrow = matchMedia("(max-width: 60rem)").matches;
      $("dash-title").focus({ preventScroll: true });
      (narrow ? panel : document.querySelector(".panes")).scrollIntoView({ block: "start" });
    }
  };
  const inView = () => { const box = document.querySelector(".panes").getBoundingClientRect(); return box.top < innerHeight / 3 && box.bottom > innerHeight / 2; };
  const route = () => {
    const asked = /^#latent-(\d+)$/.exec(location.hash);
    if (!asked || +asked[1] >= n) return;
    const fromList = list.contains(document.activeElement) && inView() && !matchMedia("(max-width: 60rem)").matches;
    show(+asked[1], !fromList);
  };
  window.addEventListener("hashchange", route);

  // Clicks on the charts set a range; on any change the list follows.
  const set = (name, low, high) => {
    const range = ranges.find((r) => r.name === name);
    if (!range) return;
    [low, high].forEach((value, side) => { range.inputs[side].value = +(value * range.scale).toPrecision(6); });
    $("more").open = true;
    filter();
  };
  window.addEventListener("range", ({ detail }) => {
    form.reset();
    for (const input of form.querySelectorAll("[name^=verdict-]")) input.checked = input.name !== "verdict-dead";
    set(detail.column, detail.low, detail.high);
    $("latents").scrollIntoView({ block: "start" });
    found.focus({ preventScroll: true });
  });
  for (const button of document.querySelectorAll("[data-sort]")) {
    button.addEventListener("click", () => {
      const { sort, down } = form.elements;
      down.checked = sort.value === button.dataset.sort ? !down.checked : button.dataset.sort !== "latent";
      sort.value = button.dataset.sort;
      filter();
    });
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  for (const [i, name] of words.verdict.entries()) {
    const count = column.verdict.reduce((sum, code) => sum + (code === i), 0);
    const label = $("count-" + name);
    if (label) label.textContent = count.toLocaleString("en");
  }
  $("browser").hidden = false;
  filter();
  route();
  if (open === null && matched.length) show(matched[0], false);
  document.documentElement.dataset.ready = Math.round(performance.now());
})();
