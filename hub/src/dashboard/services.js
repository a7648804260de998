// Global services, their exports and backends.
import { h, pill, section, table } from "/dashboard/dom.js";

export function services(root, fleet) {
  const body = h("div", {});
  root.append(body);
  return (why) => {
    if (why === "status" || why === "flows") return;
    body.replaceChildren(...(fleet.services.length ? fleet.services.map(card) : [h("p", { class: "empty" }, "No cluster exports a service yet. A ServiceExport in the inventory of one makes it global.")]));
  };
}

function card(service) {
  const { readyBackends: ready, backends } = service;
  const health = ready === 0 ? pill("bad", "no ready backend") : pill(ready < backends ? "warn" : "good", `${ready} of ${backends} ready`);
  const rows = service.exports.flatMap((each) => (each.backends.length ? each.backends.map((backend) => ({ ...each, backend })) : [{ ...each, backend: null }]));
  const columns = [
    ["Cluster", (row) => h("b", {}, row.cluster)],
    ["Backend", (row) => row.backend?.workload ?? h("span", { class: "dim" }, "none")],
    ["Node", (row) => row.backend?.node ?? "–"],
    ["Address", (row) => h("code", {}, row.backend?.addresses.join(" ") ?? "–")],
    ["State", (row) => (row.backend ? (row.backend.ready ? pill("good", "ready") : pill("warn", "not ready")) : "–")],
    ["Affinity", (row) => row.affinity],
    ["Weight", (row) => row.weight, "num"],
  ];
  const ports = service.ports.map((port) => `${port.name ? `${port.name} ` : ""}${port.port}/${port.protocol} → ${port.target}`).join(", ");
  return section(
    `${service.namespace}/${service.name}`,
    null,
    h("p", { class: "foot" }, health, " ", h("code", {}, service.vips.join("  ")), ` · ${ports} · revision ${service.revision}`),
    service.conflicts.map((conflict) => h("p", { class: "error" }, `${conflict.cluster}: ${conflict.reason}: ${conflict.message}`)),
    table(columns, rows),
  );
}
