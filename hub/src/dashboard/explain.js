// Which rule decides a flow, and why the rules before it do not.
import * as api from "/dashboard/api.js";
import { h, pill, section, table } from "/dashboard/dom.js";

export function explain(root, fleet, query) {
  const names = h("datalist", { id: "workloads" });
  const field = (id, title, value, attributes = {}) => [h("label", { for: id }, title), h("input", { id, name: id, value, required: true, ...attributes })];
  const protocol = h("select", { id: "protocol", name: "protocol" }, ["tcp", "udp", "sctp", "icmp", "icmpv6"].map((each) => h("option", { selected: each === query.get("protocol") }, each)));
  const answer = h("div", {});
  const form = h(
    "form",
    { class: "controls" },
    field("from", "From", query.get("from") ?? "", { list: "workloads", placeholder: "cluster/namespace/workload or address", size: 30 }),
    field("to", "To", query.get("to") ?? "", { list: "workloads", placeholder: "cluster/namespace/workload or address", size: 30 }),
    h("label", { for: "protocol" }, "Protocol"),
    protocol,
    field("port", "Port", query.get("port") ?? "80", { type: "number", min: 0, max: 65535 }),
    h("button", { class: "primary" }, "Explain"),
    names,
  );
  const ask = async (event) => {
    event?.preventDefault();
    try {
      answer.replaceChildren(show(await api.get(`/explain?${new URLSearchParams(new FormData(form))}`)));
    } catch (error) {
      const details = (error.violations ?? []).map((each) => h("p", { class: "error" }, `${each.field}: got ${each.got}; wanted ${each.want}`));
      answer.replaceChildren(h("p", { class: "error", role: "alert" }, error.message), ...details);
    }
  };
  form.addEventListener("submit", ask);
  root.append(section("Explain", "which rule decides a flow at each end", form, answer));
  if (query.get("from")) ask();
  return (why) => {
    if (why === "status" || why === "flows") return;
    names.replaceChildren(...fleet.endpoints.map((each) => h("option", { value: `${each.cluster}/${each.namespace}/${each.name}` })));
  };
}

const verdict = (text) => pill(text === "accept" ? "good" : "bad", text);

function show(answer) {
  const backends = answer.backends || [];
  const note = answer.note ? h("p", { class: "dim" }, answer.note) : null;
  const none = answer.sides.length === 0 && !note ? h("p", { class: "dim" }, "Neither end is a workload of the mesh, so no policy is asked.") : null;
  return h("div", {}, h("p", { class: "verdict" }, verdict(answer.verdict)), note, none, answer.sides.map(side), backends.map(backend));
}

function backend(each) {
  return h("div", {}, h("h3", {}, `${each.address} port ${each.port} `, verdict(each.verdict)), each.sides.map(side));
}

function side(each) {
  const columns = [
    ["Tier", (step) => step.tier],
    ["Rule", (step) => [h("b", {}, step.rule.policy), ` ${step.rule.direction}[${step.rule.index}] `, h("span", { class: "dim" }, step.rule.name)]],
    ["", (step) => (step.matched ? pill("good", "matched") : pill("off", "passed over"))],
    ["Why", (step) => step.why],
  ];
  const rule = each.rule && `by policy ${each.rule.policy} ${each.rule.direction}[${each.rule.index}] at revision ${each.rule.revision}`;
  const why = [rule, each.reason].filter(Boolean).join("; ");
  return section(`${each.direction} of ${each.workload}`, null, h("p", { class: "foot" }, verdict(each.verdict), ` ${why}`), table(columns, each.steps, { empty: "No policy has rules for this direction." }));
}
