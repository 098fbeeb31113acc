"use strict";
(() => {
  const $ = (id) => document.getElementById(id);

  // Charts: drawn when they come near the screen, all of them before printing.
  const specs = JSON.parse($("chart-data").textContent);
  const options = { renderer: "svg", actions: false, ast: true, tooltip: { theme: "page" } };
  const draw = (name) => {
    const spec = specs[name];
    if (!spec) return Promise.resolve();
    delete specs[name];
    return vegaEmbed($("chart-" + name), spec, options);
  };
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      watcher.unobserve(entry.target);
      draw(entry.target.id.slice("chart-".length));
    }
  }, { rootMargin: "600px" });
  for (const name of Object.keys(specs)) if ($("chart-" + name)) watcher.observe($("chart-" + name));
  window.addEventListener("beforeprint", () => Object.keys(specs).forEach(draw));

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

  // The section in view, marked in the navigation.
  const links = [...document.querySelectorAll("nav a")];
  const spy = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links) {
        if (link.hash === "#" + entry.target.id) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    }
  }, { rootMargin: "-15% 0px -75% 0px" });
  for (const link of links) spy.observe(document.querySelector(link.hash));

  // Exclusive latents: find and sort.
  const lists = [...document.querySelectorAll(".latents")];
  const items = lists.map((list) => [...list.querySelectorAll(".latent")]);
  const all = items.flat();
  if (all.length) {
    $("filter").hidden = false;
    $("filter").addEventListener("submit", (event) => event.preventDefault());
    const texts = new Map(all.map((item) => [item, item.textContent.toLowerCase()]));
    const find = () => {
      const wanted = $("find").value.trim().toLowerCase();
      let n = 0;
      for (const item of all) {
        item.hidden = wanted !== "" && !texts.get(item).includes(wanted);
        n += !item.hidden;
      }
      $("found").textContent = wanted ? n + " of " + all.length : "";
    };
    const sort = () => {
      const key = $("sort").value;
      const sign = key === "latent" || key === "nu" ? 1 : -1;
      lists.forEach((list, i) => {
        items[i].sort((a, b) => sign * (a.dataset[key] - b.dataset[key]));
        list.append(...items[i]);
      });
    };
    $("find").addEventListener("input", find);
    $("sort").addEventListener("change", sort);
  }
})();
