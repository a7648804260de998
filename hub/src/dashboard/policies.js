// Every policy with its document.
import * as api from "/dashboard/api.js";
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

/** Its name as `axle` takes it: with its namespace, if it is of one. */
const title = (policy) => (policy.namespace ? `${policy.namespace}/${policy.name}` : policy.name);

function order(a, b) {
  return TIERS.indexOf(a.tier) - TIERS.indexOf(b.tier) || a.priority - b.priority || title(a).localeCompare(title(b));
}

function state(policy) {
  if (policy.disabled) return pill("off", "disabled");
  return policy.enforcement === "audit" ? pill("warn", "audit") : pill("good", "enforced");
}

function list(fleet, open, redraw) {
  const columns = [
    ["Name", (policy) => [h("b", {}, title(policy)), policy.description ? h("div", { class: "dim" }, policy.description) : null]],
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
    detail: (policy) => (open.has(policy.uid) ? [h("pre", {}, policy.document), versions(policy)] : null),
    onrow: (policy) => {
      if (!open.delete(policy.uid)) open.add(policy.uid);
      redraw();
    },
  });
}

const known = new Map();

/** The versions of a policy of the fleet, each with what it changed; asked for once per revision. */
function versions(policy) {
  if (policy.cluster) return null;
  const key = `${policy.uid}@${policy.revision}`;
  if (!known.has(key)) {
    const body = h("div", {});
    known.set(key, body);
    api
      .get(`/policies/${encodeURIComponent(title(policy))}/history?limit=20`)
      .then((history) => body.replaceChildren(...(history.revisions ?? []).map(version)))
      .catch((error) => body.replaceChildren(h("p", { class: "error" }, error.message)));
  }
  return known.get(key);
}

const version = (each) =>
  h("details", {}, h("summary", {}, `revision ${each.revision}, ${new Date(Number(each.timeMs)).toISOString()}, ${each.actor}: ${each.action}`), h("pre", {}, each.diff));
