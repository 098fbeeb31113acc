// One latent's dashboard. `facts` are its columns of the index, `record` what the stage
// `dashboards` wrote of it, or null.
const { sources: SOURCES, names: { verdict: VERDICTS, artefact: ARTEFACTS, kind: KINDS } } = JSON.parse($("browser-data").textContent);
const colourOf = (source) => "source-" + SOURCES.indexOf(source) % 4;
const number = (value, digits = 3) => value === null || value === undefined ? "–" : (+value.toPrecision(digits)).toLocaleString("en");
const fixed = (value, digits = 2) => value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−");
const percent = (value) => value === null || value === undefined ? "–"
  : (100 * value).toLocaleString("en", { maximumSignificantDigits: 2 }) + "%";
// White space that has a meaning of its own is shown; the rest of a token is text as it is.
const turning = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g; // controls of text direction
const plain = (text) => text.replace(turning, (c) => "\\u" + c.codePointAt(0).toString(16).padStart(4, "0"));
const visible = (token) => plain(token).replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll("\r", "␍");
// By itself, a token of spaces alone would show nothing.
const named = (token) => /^ +$/.test(token) ? "␣".repeat(token.length) : visible(token);
const latentLink = (latent, ...children) => h("a", { href: "#latent-" + latent }, ...children);

const dashboard = (facts, record, neighbours, anyText, why) => {
  const parts = [heading(facts, neighbours), why ? h("p", { class: "why" }, why[0].toUpperCase() + why.slice(1) + ".") : null, factTable(facts), nuPlot(facts)].filter(Boolean);
  if (!record) {
    parts.push(h("p", { class: "quiet" }, facts.verdict === "dead"
      ? "This latent fired on no held-out token, so there is nothing to show of it."
      : anyText ? "No dashboard was made for this latent: raise dashboards.n_latents to get one."
        : "This experiment has no text to show."));
    return parts;
  }
  parts.push(h("div", { class: "halves" }, firing(record), histogram(record)));
  parts.push(lens(record), nearest(record), examples(record));
  return parts;
};

const heading = (facts, { previous, next }) => h("header", { class: "dash-head" },
  h("h3", { id: "dash-title", tabindex: -1 }, "Latent " + facts.latent),
  h("span", { class: "pill " + facts.verdict }, VERDICTS[facts.verdict]),
  facts.change === null ? null : h("a", { href: "#change-" + facts.change }, `change ${facts.change}: ${KINDS[facts.change_kind]}`),
  facts.artefact ? h("span", { class: "quiet" }, "by norm " + VERDICTS[facts.norm_bin] + ": " + ARTEFACTS[facts.artefact]) : null,
  h("span", { class: "steps" },
    previous === null ? null : h("a", { href: "#latent-" + previous, "aria-label": "Previous latent in the list, " + previous }, "← " + previous),
    next === null ? null : h("a", { href: "#latent-" + next, "aria-label": "Next latent in the list, " + next }, next + " →"),
    h("a", { href: "#filter", class: "to-list" }, "List")));

const factTable = (facts) => {
  const entries = [
    ["relative norm r", fixed(facts.relative_norm, 3)],
    ["Δ", fixed(facts.delta, 3)],
    ["decoder cosine", fixed(facts.decoder_cosine, 3)],
    ["fires on", percent(facts.rate_all)],
    ...SOURCES.map((source) => ["of " + source, percent(facts["rate_" + source])]),
    ["of its firing, template", percent(facts.template_share)],
    ["mean when on", number(facts.mean_active)],
    ["largest", number(facts.max_active)],
    ["ν in another direction", fixed(facts.nu_turned)],
    ["share elsewhere", fixed(facts.share_elsewhere)],
    ["twin in the other model", facts.twin >= 0 ? latentLink(facts.twin, facts.twin) : "none"],
    ["q of exclusive", number(facts.q_exclusive, 2)],
    ["cosine of what they write", fixed(facts.direction_cosine)],
    ["strength, IT over base", fixed(facts.strength_ratio)],
    ["q of being in both", number(facts.q_both, 2)],
    ["q of shared, alike", number(facts.q_shared, 2)],
    ["q of turned", number(facts.q_turned, 2)],
    ["q of stronger / weaker", number(facts.q_stronger, 2) + " / " + number(facts.q_weaker, 2)],
  ];
  return h("dl", { class: "facts" }, ...entries.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))));
};

// nu of the error and of the reconstruction with their intervals, and below which each must lie.
const nuPlot = (facts) => {
  if (facts.nu_eps === null && facts.nu_r === null) return h("p", { class: "quiet" }, "ν is not defined for this latent.");
  const low = -0.5, high = 1.5, limits = JSON.parse($("browser").dataset.limits);
  const x = (value) => 100 * (Math.min(high, Math.max(low, value)) - low) / (high - low) + "%";
  const row = (name, title, limit) => {
    const [value, from, to] = [facts[name], facts[name + "_low"], facts[name + "_high"]];
    if (value === null) return null;
    const words = `${title} ${fixed(value)}, ${fixed(from)} to ${fixed(to)}`;
    return h("div", { class: "nu-row" },
      h("span", {}, title + " ", h("b", {}, fixed(value)), h("small", {}, from === null ? "" : `${fixed(from)} to ${fixed(to)}`)),
      h("svg", { class: "nu", height: 26, role: "img", "aria-label": words + `; exclusive below ${limit}` },
        h("rect", { class: "zone", x: x(low), y: 2, height: 22, width: x(limit) }),
        h("line", { class: "axis", x1: x(0), x2: x(0), y1: 0, y2: 26 }),
        h("line", { class: "axis", x1: x(1), x2: x(1), y1: 0, y2: 26 }),
        h("line", { class: "limit", x1: x(limit), x2: x(limit), y1: 0, y2: 26 }),
        from === null ? null : h("line", { class: "span", x1: x(from), x2: x(to), y1: 13, y2: 13 }),
        h("circle", { class: "point", cx: x(value), cy: 13, r: 4.5 })));
  };
  return h("div", { class: "nus" },
    row("nu_eps", "ν of the error", limits.nu_eps), row("nu_r", "ν of the reconstruction", limits.nu_r),
    h("p", { class: "quiet" }, "Scale −0.5 to 1.5, lines at 0 and 1. To be exclusive both must lie in the shaded zone; q is the false discovery rate at which the data would say so."));
};

const firing = (record) => {
  const sum = (cells) => Object.values(cells).reduce((a, b) => a + b, 0);
  const groups = [];
  for (const source of SOURCES) {
    for (const kind of ["other", "template"]) {
      const total = record.n_tokens[source]?.[kind] ?? 0;
      if (total) groups.push([source + (kind === "template" ? ", template" : ""), record.n_active[source][kind], total, source]);
    }
  }
  const largest = Math.max(...groups.map(([, n, total]) => n / total), 1e-9);
  const total = SOURCES.reduce((n, source) => n + sum(record.n_active[source]), 0);
  return h("section", {}, h("h4", {}, "How often it fires"),
    ...groups.map(([name, n, all, source]) => h("div", { class: "bar-row" },
      h("span", {}, name),
      h("span", { class: "bar" }, h("i", { class: colourOf(source), "--w": 100 * n / all / largest + "%" })),
      h("span", { class: "figure" }, percent(n / all), h("small", {}, n.toLocaleString("en") + " of " + all.toLocaleString("en"))))),
    h("p", { class: "quiet" }, total.toLocaleString("en") + " tokens in all."));
};

const histogram = (record) => {
  const { width, counts } = record.histogram;
  const n = Math.max(counts[SOURCES[0]].length, 1), tall = 84;
  const inBin = (i) => SOURCES.reduce((total, source) => total + counts[source][i], 0);
  const height = (count) => tall * Math.log1p(count) / Math.log1p(largest);
  const largest = Math.max(1, ...counts[SOURCES[0]].map((_, i) => inBin(i)));
  const bars = counts[SOURCES[0]].map((_, i) => {
    const all = inBin(i), at = { x: 100 * i / n + "%", width: 92 / n + "%" };
    let y = tall;
    return SOURCES.map((source) => {
      const part = all ? height(all) * counts[source][i] / all : 0;
      y -= part;
      return h("rect", { ...at, y, height: part, class: colourOf(source) });
    });
  }).flat();
  const label = `Histogram of active values from 0 to ${number(width * n)}, at most ${largest} tokens in a bin`;
  return h("section", {}, h("h4", {}, "How strongly"),
    h("svg", { class: "histogram", height: tall + 1, role: "img", "aria-label": label }, ...bars,
      h("line", { class: "axis", x1: 0, x2: "100%", y1: tall + 0.5, y2: tall + 0.5 })),
    h("p", { class: "scale" }, h("span", {}, "0"), h("span", {}, "activation, log of tokens per bin"), h("span", {}, number(width * n))),
    h("p", { class: "quiet key-line" }, ...SOURCES.flatMap((source) => [h("i", { class: colourOf(source) }), source + " "])));
};

const lens = (record) => {
  const list = (title, entries, side) => {
    const largest = Math.max(...entries.map((entry) => Math.abs(entry.logit)), 1e-9);
    return h("div", {}, h("h5", {}, title), h("ol", { class: "tokens" }, ...entries.map((entry) => h("li", {},
      h("i", { class: side, "--w": 100 * Math.abs(entry.logit) / largest + "%" }),
      h("code", {}, named(entry.token)), h("span", { class: "figure" }, fixed(entry.logit))))));
  };
  const lists = record.lens;
  const column = (title, side, length, ...children) => h("div", {},
    h("h4", {}, h("span", { class: "dot " + side }), title, h("small", {}, length)), ...children);
  return h("section", {}, h("div", { class: "lens" },
    column("Base decoder", "base", "length " + number(record.norm_base), list("promotes", lists.base_promoted, "base"), list("suppresses", lists.base_suppressed, "other")),
    column("IT decoder", "it", "length " + number(record.norm_it), list("promotes", lists.it_promoted, "it"), list("suppresses", lists.it_suppressed, "other")),
    column("Where they differ", "other", "IT less base", list("more in IT", lists.more_in_it, "it"), list("more in base", lists.more_in_base, "base"))),
    h("p", { class: "quiet" }, "Logits that each decoder’s direction writes through its own model’s final norm, unembedding and soft-cap. Differences weigh each side by its length."));
};

const nearest = (record) => h("section", {}, h("h4", {}, "Nearest latents"),
  h("p", { class: "near" }, ...record.nearest.map(({ latent, cosine }) => latentLink(latent, h("b", {}, latent), " " + fixed(cosine)))),
  h("p", { class: "quiet" }, "By the cosine of both decoders joined."));

const examples = (record) => {
  const largest = record.top.length ? record.top[0].value : 1;
  const longer = Math.max(record.norm_base, record.norm_it) || 1;
  const shades = { f: 1 / largest, base: record.norm_base / longer / largest, it: record.norm_it / longer / largest };
  const readout = h("output", { class: "readout" }, "Point at a token, or tap it, for its activation.");
  const body = h("div", { class: "examples", "data-shade": "f" });
  const show = (example) => h("li", {},
    h("span", { class: "where" }, h("b", {}, number(example.value)), " ", h("span", { class: "side base-ink" }, "base " + number(example.value * record.norm_base)), " ",
      h("span", { class: "side it-ink" }, "IT " + number(example.value * record.norm_it)), h("br"),
      example.source + (example.token_class === "template" ? ", template" : "") + ` · ${example.sequence}:${example.position}`),
    h("p", { class: "text" }, ...example.tokens.map((token, i) => {
      const value = example.values[i];
      const own = { class: i === example.at ? "t at" : "t", "data-i": i };
      if (value) for (const [side, factor] of Object.entries(shades)) own[side === "f" ? "--f" : `--${side}-share`] = Math.round(100 * Math.min(1, value * factor)) + "%";
      const node = h("span", own, visible(token));
      node.fact = { token, value };
      return node;
    })));
  body.append(h("h5", {}, "Strongest, one per document"), h("ol", {}, ...record.top.map(show)));
  for (const band of record.bands) {
    if (!band.examples.length) continue;
    body.append(h("h5", {}, `Random, ${percent(band.from)} to ${percent(band.to)} of its active tokens by strength `,
      h("span", { class: "quiet" }, `${number(band.low)} to ${number(band.high)}`)), h("ol", {}, ...band.examples.map(show)));
  }
  const tell = (event) => {
    const fact = event.target.fact;
    if (!fact) return;
    const name = JSON.stringify(plain(fact.token));
    readout.textContent = fact.value === null ? `${name}: no activation was stored here`
      : `${name}: activation ${number(fact.value)}, base side ${number(fact.value * record.norm_base)}, IT side ${number(fact.value * record.norm_it)}`;
  };
  body.addEventListener("pointerover", tell);
  body.addEventListener("click", tell);
  const radio = (value, title) => h("label", {}, h("input", { type: "radio", name: "shade", value, ...(value === "f" ? { checked: "" } : {}) }), title);
  const choice = h("fieldset", { class: "shade" }, h("legend", {}, "Shade by"), radio("f", "activation"), radio("base", "base side"), radio("it", "IT side"));
  choice.addEventListener("change", (event) => { body.dataset.shade = event.target.value; });
  return h("section", {}, h("h4", {}, "What it fires on"), h("div", { class: "example-bar" }, choice, readout), body);
};
