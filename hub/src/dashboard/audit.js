// Who did what.
import { h, section, table } from "/dashboard/dom.js";

export function audit(root, fleet) {
  const body = h("div", {});
  root.append(section("Audit", "the log itself, the newest revision first; each hash covers all before it", body));
  return (why) => {
    if (why === "status" || why === "flows") return;
    body.replaceChildren(list(fleet.audit));
  };
}

function objects(entry) {
  const [first, second, ...more] = entry.objects;
  return [first, second].filter(Boolean).join(", ") + (more.length ? ` and ${more.length} more` : "");
}

function list(entries) {
  const columns = [
    ["Revision", (entry) => entry.revision, "num"],
    ["Time", (entry) => new Date(entry.timeMs).toLocaleString()],
    ["Who", (entry) => h("b", {}, entry.actor)],
    ["Action", (entry) => entry.action],
    ["Objects", (entry) => h("span", { class: "dim" }, objects(entry))],
    ["Hash", (entry) => h("code", { title: entry.hash }, entry.hash.slice(0, 12))],
  ];
  return table(columns, entries, { empty: "Nothing was done yet." });
}
