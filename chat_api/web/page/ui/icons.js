// The icons: strokes on a grid of 24, drawn for this page.

const STROKES = {
  bin: "M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12M10.5 11v5M13.5 11v5",
  check: "M5 12.5l4.5 4.5L19 7.5",
  close: "M6.5 6.5l11 11M17.5 6.5l-11 11",
  copy: "M9 9h10v11H9zM15 9V4H5v11h4",
  down: "M12 5v14M6 13l6 6 6-6",
  chevron: "M7 10l5 5 5-5",
  dots: "M5.5 12h.01M12 12h.01M18.5 12h.01",
  left: "M14 6.5l-5.5 5.5 5.5 5.5",
  onward: "M5 12h13M12.5 6.5L18 12l-5.5 5.5",
  right: "M10 6.5l5.5 5.5-5.5 5.5",
  gear: "M4 7h9M17 7h3M4 17h3M11 17h9M15 7m-2 0a2 2 0 1 0 4 0a2 2 0 1 0-4 0M9 17m-2 0a2 2 0 1 0 4 0a2 2 0 1 0-4 0",
  keyboard: "M3.5 6.5h17v11h-17zM7 10h.01M10.3 10h.01M13.7 10h.01M17 10h.01M7 14h.01M17 14h.01M10 14h4",
  panel: "M4 5h16v14H4zM9.5 5v14",
  pen: "M5 19l1-4L16.5 4.5l3 3L9 18zM14.5 6.5l3 3",
  retry: "M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4",
  star: "M12 4.5l2.3 4.8 5.2.7-3.8 3.6.9 5.2-4.6-2.5-4.6 2.5.9-5.2L4.5 10l5.2-.7z",
  stop: "M7.5 7.5h9v9h-9z",
  tool: "M14.5 9.5a4 4 0 0 0 5-5l-2.5 2.5-2-2L17.5 2.5a4 4 0 0 0-5 5L4.5 15.5l4 4z",
  up: "M12 19V5M6 11l6-6 6 6",
  warning: "M12 4.5L21 19.5H3zM12 10v4M12 16.8h.01",
};
const SVG = "http://www.w3.org/2000/svg";

/** An icon, hidden from screen readers: the text or label beside it says what it means. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", STROKES[name]);
  svg.append(path);
  return svg;
}
