// Every policy with its document.
import { count, h, pill, section, table } from "/dashboard/dom.js";

export function policies(root, fleet) {
  const open = new Set();
  const body = h("div", {});
  root.append(section("Policies", "in the order of decision; click one for its document", body));
  const update = (why) => {
    if (why === "status" || why === "flows") return;
    body.replaceChildren(list(fleet, open, () => update("all")));
  };
  return update;
}

const TIERS = ["admin", "namespace", "baseline"];

function order(a, b) {
  return TIERS.indexOf(a.tier) - TIERS.indexOf(b.tier) || a.priority - b.priority || a.name.localeCompare(b.name);
}

function state(policy) {
  if (policy.disabled) return pill("off", "disabled");
  return policy.enforcement === "audit" ? pill("warn", "audit") : pill("good", "enforced");
}

function list(fleet, open, redraw) {
  const columns = [
    ["Name", (policy) => [h("b", {}, policy.name), policy.description ? h("div", { class: "dim" }, policy.description) : null]],
    ["Tier", (policy) => policy.tier],
    ["Priority", (policy) => policy.priority, "num"],
    ["State", state],
    ["Rules", (policy) => `${policy.ingressRules} in, ${policy.egressRules} out`],
    ["Workloads", (policy) => (policy.subjects === 0 ? pill("warn", "selects none") : count(policy.subjects, "workload"))],
    ["Written by", (policy) => policy.cluster || "fleet"],
    ["Revision", (policy) => policy.revision, "num"],
  ];
  return table(columns, [...fleet.policies].sort(order), {
    empty: "No policy yet: every cluster's default action decides. Apply one with: axle policy apply -f policy.yaml --wait",
    detail: (policy) => (open.has(policy.uid) ? h("pre", {}, policy.document) : null),
    onrow: (policy) => {
      if (!open.delete(policy.uid)) open.add(policy.uid);
      redraw();
    },
  });
}
