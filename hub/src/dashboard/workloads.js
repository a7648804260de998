// Running workloads with identity and addresses.
import { h, labels, pill, section, table } from "/dashboard/dom.js";

export function workloads(root, fleet) {
  const filter = h("input", { type: "search", placeholder: "Filter by cluster, namespace, name, label or address", "aria-label": "Filter" });
  const body = h("div", {});
  const heading = section("Workloads", null, h("div", { class: "controls" }, filter), body);
  root.append(heading);
  const update = (why) => {
    if (why === "status" || why === "flows") return;
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = fleet.endpoints.filter((endpoint) => words.every((word) => text(endpoint).includes(word)));
    found.sort((a, b) => path(a).localeCompare(path(b)));
    body.replaceChildren(list(found));
  };
  filter.addEventListener("input", () => update("all"));
  return update;
}

const path = (endpoint) => `${endpoint.cluster}/${endpoint.namespace}/${endpoint.name}`;

function text(endpoint) {
  const parts = [endpoint.cluster, endpoint.namespace, endpoint.name, endpoint.node, endpoint.identity, ...endpoint.addresses];
  return [...parts, ...Object.entries(endpoint.labels).map((pair) => pair.join("="))].join(" ").toLowerCase();
}

function list(endpoints) {
  const columns = [
    ["Workload", (endpoint) => h("b", {}, path(endpoint))],
    ["Node", (endpoint) => endpoint.node],
    ["Address", (endpoint) => h("code", {}, endpoint.addresses.join(" "))],
    ["State", (endpoint) => (endpoint.stale ? pill("off", "stale") : endpoint.ready ? pill("good", "ready") : pill("warn", "not ready"))],
    ["Labels", (endpoint) => labels(endpoint.labels)],
    ["Account", (endpoint) => endpoint.serviceAccount || "–"],
    ["Identity", (endpoint) => h("code", { title: endpoint.identity }, endpoint.identity.slice(0, 12))],
  ];
  return table(columns, endpoints.slice(0, 500), { empty: "No workload matches." });
}
