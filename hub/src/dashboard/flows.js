// Flows as their nodes report them.
import { clock, h, pill, section, table } from "/dashboard/dom.js";

const SHOWN = 150;

export function flows(root, fleet) {
  const filter = h("input", { type: "search", placeholder: "Filter by workload, namespace, cluster, address, policy or port", "aria-label": "Filter" });
  const verdict = h("select", { "aria-label": "Verdict" }, [["", "every verdict"], ["accept", "accepted"], ["deny", "denied"]].map(([value, title]) => h("option", { value }, title)));
  const pause = h("input", { type: "checkbox" });
  const body = h("div", {});
  root.append(section("Flows", "the newest first; click one to explain it", h("div", { class: "controls" }, filter, verdict, h("label", {}, pause, " Pause")), body));
  const update = (why) => {
    if (why === "status" || why === "objects" || (why === "flows" && pause.checked)) return;
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = (flow) => (!verdict.value || flow.verdict === verdict.value) && words.every((word) => text(flow).includes(word));
    body.replaceChildren(list(fleet.flows.filter(wanted).slice(0, SHOWN)));
  };
  filter.addEventListener("input", () => update("all"));
  verdict.addEventListener("change", () => update("all"));
  return update;
}

export const name = (end) => (end?.workload ? `${end.cluster}/${end.namespace}/${end.workload}` : (end?.address ?? "?"));

const port = (flow) => (flow.protocol.startsWith("icmp") ? `${flow.protocol} type ${flow.port >> 8}` : `${flow.port}/${flow.protocol}`);

function text(flow) {
  return [name(flow.source), name(flow.destination), flow.source?.address, flow.destination?.address, flow.rule?.policy, flow.reason, port(flow), flow.cluster, flow.node]
    .join(" ").toLowerCase();
}

function end(end) {
  return end?.workload ? [h("b", {}, end.workload), h("span", { class: "dim" }, ` ${end.cluster}/${end.namespace} `), h("code", {}, end.address)] : h("code", {}, end?.address ?? "?");
}

function decided(flow) {
  if (!flow.rule) return h("span", { class: "dim" }, flow.reason);
  const { policy, direction, index, name, revision } = flow.rule;
  return [h("b", {}, policy), h("span", { class: "dim" }, ` ${direction}[${index}]${name ? ` ${name}` : ""} @${revision}`)];
}

function explainLink(flow) {
  const query = new URLSearchParams({ from: name(flow.source), to: name(flow.destination), protocol: flow.protocol, port: flow.port });
  location.hash = `#/explain?${query}`;
}

function list(found) {
  const columns = [
    ["Time", (flow) => h("code", {}, clock(flow.timeMs))],
    ["Verdict", (flow) => pill(flow.verdict === "accept" ? "good" : "bad", flow.verdict)],
    ["Source", (flow) => end(flow.source)],
    ["Destination", (flow) => end(flow.destination)],
    ["Port", port],
    ["Decided by", decided],
    ["Judged at", (flow) => `${flow.cluster}/${flow.node} ${flow.direction}`],
    ["Count", (flow) => flow.count, "num"],
  ];
  return table(columns, found, { empty: "No flow yet: nodes report them as they judge them.", onrow: explainLink });
}
