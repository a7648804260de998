// Building the page: elements from plain calls, text only ever as text.

/** An element: `h("td", { class: "num" }, 3)`. Attributes that start with `on` are listeners; null children are left out. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** As `h`, for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A table. `columns`: `[title, cell(row), class?]`; `detail(row)`: what is shown below a row, or null. */
export function table(columns, rows, { empty = "Nothing here.", onrow = null, detail = () => null } = {}) {
  if (rows.length === 0) return h("p", { class: "empty" }, empty);
  const head = columns.map(([title, , kind]) => h("th", { scope: "col", class: kind }, title));
  const body = rows.flatMap((row) => {
    const click = onrow ? { class: "click", tabindex: 0, onclick: () => onrow(row), onkeydown: (e) => e.key === "Enter" && onrow(row) } : {};
    const more = detail(row);
    return [
      h("tr", click, columns.map(([, cell, kind]) => h("td", { class: kind }, cell(row)))),
      more ? h("tr", { class: "detail" }, h("td", { colspan: columns.length }, more)) : null,
    ];
  });
  return h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

/** A short text in a pill: `good`, `warn`, `bad` or `plain`. */
export const pill = (tone, text, title = null) => h("span", { class: `pill ${tone}`, title }, text);

/** Labels as small chips. */
export const labels = (map) =>
  Object.entries(map ?? {}).map(([key, value]) => h("span", { class: "label" }, value === "" ? key : `${key}=${value}`));

/** A titled part of the page. */
export const section = (title, note, ...children) =>
  h("section", {}, h("h2", {}, title, note === null ? null : h("small", {}, note)), children);

/** `1 node`, `2 nodes`. */
export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

/** How long ago, from milliseconds. */
export function ago(ms) {
  if (ms === null || ms === undefined) return "never";
  const seconds = Math.floor(ms / 1000);
  if (seconds < 2) return "now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86400)} d ago`;
}

/** Time of day with milliseconds, here. */
export function clock(ms) {
  const time = new Date(ms);
  const two = (number) => String(number).padStart(2, "0");
  const milliseconds = String(time.getMilliseconds()).padStart(3, "0");
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}.${milliseconds}`;
}
