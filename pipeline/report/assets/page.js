// The frame of the page: charts, theme, and the section in view.
const $ = (id) => document.getElementById(id);

// An element with attributes and children. Text becomes a text node: it can never be markup.
const h = (name, attributes = {}, ...children) => {
  const svg = ["svg", "rect", "line", "circle", "text", "g", "path"].includes(name);
  const node = svg
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("--")) node.style.setProperty(key, value);
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
};

(() => {
  // Charts: drawn when they come near the screen, all of them before printing.
  const charts = JSON.parse($("chart-data").textContent);
  const options = { renderer: "svg", actions: false, ast: true, tooltip: { theme: "page" } };
  const follow = (opens, datum) => {
    if (!datum) return;
    if (opens === "latent" && Number.isInteger(datum.latent)) {
      location.hash = "latent-" + datum.latent;
    } else if (datum.low !== undefined && datum.high !== undefined) {
      window.dispatchEvent(new CustomEvent("range", {
        detail: { column: opens, low: datum.low, high: datum.high },
      }));
    }
  };
  // Titles and legends in as many lines as the width asks for; panels below each other where two
  // do not fit. In pixels: a LETTER, the mark BESIDE an entry of a legend, the labels BESIDE_PANEL.
  const LETTER = 6.6, BESIDE = 34, BESIDE_PANEL = 150, TWO_PANELS = 800, PLOT_SHARE = 0.6;
  const UNKNOWN = "an entry made from data";
  const inLines = (text, most) => text.split(/\s+/).reduce((lines, word) => {
    const last = lines[lines.length - 1];
    if (last && last.length + word.length < most) lines[lines.length - 1] = last + " " + word;
    else lines.push(word);
    return lines;
  }, []);
  const below = (part) => part.layer ?? part.hconcat ?? part.vconcat ?? [];
  const longest = (part) => Math.max(
    0,
    ...(part.encoding?.color?.scale?.domain ?? [part.encoding?.color ? UNKNOWN : ""]).map((name) => name.length),
    ...below(part).map(longest),
  );
  const fitted = (part, width, height) => {
    const { hconcat, ...rest } = part;
    if (hconcat && width < TWO_PANELS) {
      part = { ...rest, vconcat: hconcat.map((one) => ({ ...one, width: width - BESIDE_PANEL })) };
    }
    for (const [channel, size] of [["x", PLOT_SHARE * width], ["y", height]]) {
      const axis = part.encoding?.[channel];
      if (typeof axis?.title === "string") axis.title = inLines(axis.title, size / LETTER);
    }
    below(part).forEach((one) => fitted(one, width, one.height ?? height));
    return part;
  };
  const draw = async (name) => {
    const chart = charts[name];
    if (!chart) return;
    delete charts[name];
    const place = $("chart-" + name), width = place.clientWidth;
    const spec = fitted(chart.spec, width, chart.spec.height);
    const columns = Math.floor(PLOT_SHARE * width / (longest(spec) * LETTER + BESIDE));
    if (width < TWO_PANELS) spec.config.legend.layout = { top: { direction: "vertical" } };
    spec.config.legend.columns = Math.max(1, Math.min(4, columns));
    spec.config.axisX = { ...spec.config.axisX, labelSeparation: 8 };
    const { view } = await vegaEmbed(place, spec, options);
    if (chart.opens) view.addEventListener("click", (_, item) => follow(chart.opens, item?.datum));
  };
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      watcher.unobserve(entry.target);
      draw(entry.target.id.slice("chart-".length));
    }
  }, { rootMargin: "600px" });
  for (const name of Object.keys(charts)) if ($("chart-" + name)) watcher.observe($("chart-" + name));
  window.addEventListener("beforeprint", () => Object.keys(charts).forEach(draw));

  // Theme: as the system has it, until the reader chooses.
  const root = document.documentElement;
  const button = $("theme");
  const dark = () => root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  const label = () => { button.textContent = dark() ? "Light" : "Dark"; };
  const keep = (theme) => { try { localStorage.setItem("theme", theme); } catch { /* no storage */ } };
  try { const kept = localStorage.getItem("theme"); if (kept) root.dataset.theme = kept; } catch { /* no storage */ }
  button.hidden = false;
  label();
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    keep(root.dataset.theme);
    label();
  });

  // The section in view, marked in the navigation, which is moved along to show it.
  const links = [...document.querySelectorAll("nav a")];
  const mark = (link) => {
    link.setAttribute("aria-current", "true");
    const strip = link.parentElement;
    const [whole, own] = [strip.getBoundingClientRect(), link.getBoundingClientRect()];
    strip.scrollLeft += own.left + own.width / 2 - whole.left - whole.width / 2;
  };
  const spy = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links) {
        if (link.hash === "#" + entry.target.id) mark(link);
        else link.removeAttribute("aria-current");
      }
    }
  }, { rootMargin: "-15% 0px -75% 0px" });
  for (const link of links) spy.observe(document.querySelector(link.hash));

  // Sentences that hold the words looked for.
  $("find-words")?.addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    for (const row of document.querySelectorAll("#explanations tbody tr")) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    }
  });

  // A link to something folded opens it.
  const unfold = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) target.open = true;
  };
  window.addEventListener("hashchange", unfold);
  unfold();
})();
