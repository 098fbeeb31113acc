// Texts whose contrast with their ground is below 4.5 (WCAG AA), as Playwright evaluates them.
() => {
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const parse = (text) => text.match(/[\d.]+/g).map(Number);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!colour.startsWith('rgb')) return null; // shading of tokens, mixed by the browser
      const [r, g, b, a = 1] = parse(colour);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const weak = new Set();
  for (const node of document.querySelectorAll('body *:not(script):not(style):not(svg *)')) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || !node.checkVisibility() || node.closest('.skip')) continue;
    const under = ground(node);
    if (!under) continue;
    const [high, low] = [luminance(parse(getComputedStyle(node).color).slice(0, 3)), luminance(under)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) weak.add(node.className + ': ' + ratio.toFixed(2) + ' ' + node.textContent.slice(0, 20));
  }
  return [...weak];
}
