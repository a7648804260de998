// How the fleet is: the wheel of clusters and nodes, the numbers that matter, every node with what its kernel holds.
import { ago, count, h, labels, pill, section, svg, table } from "/dashboard/dom.js";

/** How a node stands: tone and words. */
export function standing(node) {
  if (node.bypassed) return ["bad", "bypassed"];
  if (node.degraded) return ["bad", "degraded"];
  if (!node.connected || !node.fresh) return ["off", node.connected ? "silent" : "not connected"];
  if (node.enforcedWorkloads < node.workloads) return ["warn", "not all enforced"];
  if (node.lag > 0) return ["warn", `${node.lag} behind`];
  return ["good", "up to date"];
}

export function overview(root, fleet) {
  const top = h("div", { class: "hero" });
  const rest = h("div", {});
  root.append(top, rest);
  return (why) => {
    if (!fleet.status) {
      top.replaceChildren(h("p", { class: "empty" }, "Waiting for the hub…"));
      return;
    }
    top.replaceChildren(wheel(fleet.status), tiles(fleet));
    if (why === "flows") return;
    rest.replaceChildren(...problems(fleet.status), ...fleet.status.clusters.map((cluster) => clusterCard(cluster, fleet)));
    if (fleet.status.clusters.length === 0) {
      rest.append(h("p", { class: "empty" }, "No cluster yet. Register one with ", h("code", {}, "axle cluster add eu1 --prefix 10.1.0.0/16"), "."));
    }
  };
}

function wheel({ clusters, head }) {
  const size = 320;
  const centre = size / 2;
  const at = (angle, radius) => [centre + radius * Math.sin(angle), centre - radius * Math.cos(angle)];
  const parts = [svg("circle", { cx: centre, cy: centre, r: 118, class: "rim" })];
  clusters.forEach((cluster, i) => {
    const angle = (2 * Math.PI * i) / clusters.length;
    const tone = !cluster.connected ? "off" : cluster.fresh ? "good" : "warn";
    const [x, y] = at(angle, 84);
    parts.push(svg("line", { x1: centre, y1: centre, x2: x, y2: y, class: `spoke ${tone}` }));
    const spread = Math.min(0.34, (2 * Math.PI) / clusters.length / (cluster.nodes.length + 1));
    cluster.nodes.forEach((node, j) => {
      const [nodeX, nodeY] = at(angle + (j - (cluster.nodes.length - 1) / 2) * spread, 118);
      const [nodeTone, words] = standing(node);
      parts.push(
        svg("line", { x1: x, y1: y, x2: nodeX, y2: nodeY, class: `twig ${nodeTone}` }),
        svg("circle", { cx: nodeX, cy: nodeY, r: 7, class: `node ${nodeTone}` }, svg("title", {}, `${cluster.name}/${node.name}: ${words}`)),
      );
    });
    const [textX, textY] = at(angle, 143);
    parts.push(
      svg("circle", { cx: x, cy: y, r: 11, class: `cluster ${tone}` }, svg("title", {}, `${cluster.name}: heard of ${ago(cluster.lastHeardMs)}`)),
      svg("text", { x: textX, y: textY + 4, class: "name" }, cluster.name),
    );
  });
  parts.push(
    svg("circle", { cx: centre, cy: centre, r: 37, class: "hub" }),
    svg("text", { x: centre, y: centre + 1, class: "head" }, head?.revision ?? 0),
    svg("text", { x: centre, y: centre + 15, class: "caption" }, "revision"),
  );
  return svg("svg", { viewBox: `0 0 ${size} ${size}`, class: "wheel", role: "img", "aria-label": "Hub, clusters and nodes" }, parts);
}

function tiles(fleet) {
  const { clusters } = fleet.status;
  const nodes = clusters.flatMap((cluster) => cluster.nodes);
  const sum = (items, field) => items.reduce((total, item) => total + item[field], 0);
  const current = nodes.filter((node) => standing(node)[0] === "good").length;
  const connected = clusters.filter((cluster) => cluster.connected && cluster.fresh).length;
  const workloads = sum(nodes, "workloads");
  const enforced = sum(nodes, "enforcedWorkloads");
  const inForce = fleet.policies.filter((policy) => !policy.disabled).length;
  const recent = fleet.rates.filter((rate) => rate.second >= Date.now() / 1000 - 60);
  const denied = sum(recent, "deny");
  const ready = sum(fleet.services, "readyBackends");
  const tone = (part, whole) => (whole === 0 ? "plain" : part === whole ? "good" : part === 0 ? "bad" : "warn");
  const tile = (title, value, of, kind, note) =>
    h("div", { class: `tile ${kind}` }, h("span", { class: "title" }, title), h("b", {}, value, of === null ? null : h("small", {}, ` / ${of}`)), h("span", { class: "note" }, note));
  return h(
    "div",
    { class: "tiles" },
    tile("Clusters", connected, clusters.length, tone(connected, clusters.length), "connected and fresh"),
    tile("Nodes", current, nodes.length, tone(current, nodes.length), "hold the head revision in the kernel"),
    tile("Workloads", enforced, workloads, tone(enforced, workloads), "enforced on both hooks"),
    tile("Policies", inForce, fleet.policies.length, "plain", "in force"),
    tile("Services", fleet.services.length, null, "plain", `${count(ready, "ready backend")} in the mesh`),
    tile("Denied", denied, null, denied > 0 ? "warn" : "plain", "flows in the last minute"),
    sparkline(recent),
  );
}

function sparkline(rates) {
  const now = Math.floor(Date.now() / 1000);
  const bySecond = new Map(rates.map((rate) => [rate.second, rate]));
  const most = Math.max(4, ...rates.map((rate) => rate.accept + rate.deny));
  const bars = Array.from({ length: 60 }, (_, i) => {
    const rate = bySecond.get(now - 59 + i) ?? { accept: 0, deny: 0 };
    const deny = (40 * rate.deny) / most;
    const accept = (40 * rate.accept) / most;
    return [
      svg("rect", { x: i * 5, y: 40 - deny, width: 4, height: deny, class: "deny" }),
      svg("rect", { x: i * 5, y: 40 - deny - accept, width: 4, height: accept, class: "accept" }),
    ];
  });
  const chart = svg("svg", { viewBox: "0 0 300 40", preserveAspectRatio: "none", class: "spark", role: "img", "aria-label": "Flows per second" }, bars);
  return h("a", { class: "tile wide", href: "#/flows" }, h("span", { class: "title" }, "Reported flows per second"), chart, h("span", { class: "note" }, "accepted and denied, last minute"));
}

function problems({ clusters }) {
  const lines = clusters.flatMap((cluster) =>
    cluster.nodes.flatMap((node) => {
      const at = h("b", {}, `${cluster.name}/${node.name} `);
      const refused = node.refused.map((refusal) =>
        h("li", { class: "bad" }, at.cloneNode(true), `refused ${refusal.object} of revision ${refusal.revision}: ${refusal.message} (${refusal.code})`),
      );
      return [...refused, ...node.problems.map((problem) => h("li", { class: "warn" }, at.cloneNode(true), problem))];
    }),
  );
  return lines.length === 0 ? [] : [section("Look at this", null, h("ul", { class: "problems" }, lines))];
}

function clusterCard(status, fleet) {
  const cluster = fleet.clusters.find((each) => each.name === status.name);
  const connection = !status.connected ? pill("off", "not connected") : status.fresh ? pill("good", "connected") : pill("warn", "silent");
  const lag = Math.max(0, (fleet.status.head?.revision ?? 0) - status.receivedRevision);
  const columns = [
    ["Node", (node) => h("b", {}, node.name)],
    ["State", (node) => pill(...standing(node))],
    ["In the kernel", (node) => revision(node, fleet.status.head?.revision ?? 0), "wide"],
    ["Lag", (node) => node.lag, "num"],
    ["Enforced", (node) => `${node.enforcedWorkloads} / ${node.workloads}`, "num"],
    ["Fullest table", fullest],
    ["Agent", (node) => node.version || "–"],
  ];
  return h(
    "section",
    { class: "card" },
    h(
      "h2",
      {},
      status.name,
      connection,
      cluster?.region ? h("small", {}, cluster.region) : null,
      labels(cluster?.labels),
      h("small", { class: "right" }, `relay at revision ${status.receivedRevision}${lag ? `, ${lag} behind` : ""} · heard of ${ago(status.lastHeardMs)} · ${count(status.resumes, "resume")}, ${count(status.resyncs, "resync")}`),
    ),
    ...status.problems.map((problem) => h("p", { class: "foot" }, pill("bad", "alarm"), ` ${problem}`)),
    table(columns, status.nodes, { empty: status.connected ? "No node has reported yet." : `It has not joined. Make a join command with: axle token create --cluster ${status.name}` }),
    cluster ? h("p", { class: "foot" }, cluster.prefixes.join("  "), ` · default ${cluster.defaultAction} · ${count(cluster.endpoints, "workload")}`) : null,
  );
}

function revision(node, head) {
  const part = head === 0 ? 0 : Math.min(1, node.appliedRevision / head);
  const bar = svg("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", class: "bar" }, svg("rect", { width: 100, height: 6, rx: 3, class: "track" }), svg("rect", { width: 100 * part, height: 6, rx: 3, class: standing(node)[0] }));
  return h("span", { class: "revision" }, String(node.appliedRevision), bar);
}

function fullest({ tables }) {
  const use = (each) => (each.limit ? each.used / each.limit : 0);
  const most = [...tables].sort((a, b) => use(b) - use(a))[0];
  if (!most) return "–";
  const percent = 100 * use(most);
  return h("span", { title: tables.map((each) => `${each.table}: ${each.used} of ${each.limit}`).join("\n") }, `${most.table} ${percent < 1 ? "< 1" : Math.round(percent)} %`);
}
