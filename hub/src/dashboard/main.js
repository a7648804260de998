// The dashboard: what it knows of the fleet, kept live, and which view of it is shown.
import * as api from "/dashboard/api.js";
import { h } from "/dashboard/dom.js";
import { audit } from "/dashboard/audit.js";
import { explain } from "/dashboard/explain.js";
import { flows } from "/dashboard/flows.js";
import { overview } from "/dashboard/overview.js";
import { policies } from "/dashboard/policies.js";
import { services } from "/dashboard/services.js";
import { workloads } from "/dashboard/workloads.js";

const VIEWS = [
  ["", "Overview", overview],
  ["policies", "Policies", policies],
  ["services", "Services", services],
  ["workloads", "Workloads", workloads],
  ["flows", "Flows", flows],
  ["explain", "Explain", explain],
  ["audit", "Audit", audit],
];
const KEPT_FLOWS = 500;

/** What is known. Views read it and never write it. */
const fleet = { status: null, clusters: [], policies: [], services: [], endpoints: [], audit: [], flows: [], rates: [] };
const element = (id) => document.getElementById(id);
let session = null;
let fetched = -1;
let fetching = false;

function route() {
  const [name, query] = location.hash.replace(/^#\/?/, "").split("?");
  const view = VIEWS.find(([path]) => path === name) ?? VIEWS[0];
  return { name: view[0], render: view[2], query: new URLSearchParams(query ?? "") };
}

let shown = null;

/** Draws the view in the address; `why`: what is new (`status`, `objects`, `flows`, or all of it). */
function draw(why = "all") {
  const { name, render, query } = route();
  for (const link of element("nav").children) link.toggleAttribute("aria-current", link.dataset.view === name);
  if (why === "all" || shown?.name !== name) {
    shown = { name, update: null };
    const root = h("div", { class: `view view-${name || "overview"}` });
    element("view").replaceChildren(root);
    shown.update = render(root, fleet, query);
  }
  shown.update?.(why);
}

async function fetchObjects() {
  if (fetching) return;
  fetching = true;
  try {
    while (fetched < (fleet.status?.head?.revision ?? 0)) {
      const revision = fleet.status.head.revision;
      const [clusters, policies, services, endpoints, audit] = await Promise.all([
        api.all("/clusters", "clusters"),
        api.all("/policies", "policies"),
        api.all("/services", "services"),
        api.all("/endpoints", "endpoints"),
        api.get("/audit?limit=200"),
      ]);
      Object.assign(fleet, { clusters, policies, services, endpoints, audit: audit.entries });
      fetched = revision;
      draw("objects");
      // A busy fleet has many revisions a second; a person reads one page a second.
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  } catch (error) {
    live(error);
  } finally {
    fetching = false;
  }
}

let flowsPending = false;

function takeFlow(flow) {
  flow.key = ++takeFlow.last;
  fleet.flows.unshift(flow);
  fleet.flows.length = Math.min(fleet.flows.length, KEPT_FLOWS);
  const second = Math.floor(Date.now() / 1000);
  if (fleet.rates.at(-1)?.second !== second) fleet.rates.push({ second, accept: 0, deny: 0 });
  fleet.rates.at(-1)[flow.verdict] += flow.count || 1;
  while (fleet.rates[0].second < second - 60) fleet.rates.shift();
  if (flowsPending) return;
  flowsPending = true;
  setTimeout(() => {
    flowsPending = false;
    draw("flows");
  }, 200);
}
takeFlow.last = 0;

/** Says in the header how the connection stands. */
function live(state) {
  const [tone, text] =
    state === "live" ? ["good", "live"]
    : state instanceof api.Problem ? ["bad", state.message]
    : ["bad", "hub not reached, trying again"];
  element("live").replaceChildren(h("span", { class: `dot ${tone}` }), text);
  if (state instanceof api.Problem && state.status === 401) logout("The hub does not accept this token any more.");
}

function start() {
  session = new AbortController();
  element("logout").hidden = false;
  element("nav").hidden = false;
  draw();
  const { signal } = session;
  api.follow("/status", {
    signal,
    onstate: live,
    onitem: (status) => {
      fleet.status = status;
      draw("status");
      fetchObjects();
    },
  });
  api.follow("/flows", { signal, onitem: takeFlow });
}

function logout(why = "") {
  session?.abort();
  session = null;
  fetched = -1;
  api.forgetToken();
  login(why);
}

function login(why) {
  element("logout").hidden = true;
  element("nav").hidden = true;
  element("live").replaceChildren();
  const field = h("input", { type: "password", id: "token", autocomplete: "off", required: true, spellcheck: "false" });
  const submit = (event) => {
    event.preventDefault();
    api.setToken(field.value.trim());
    start();
  };
  element("view").replaceChildren(
    h(
      "form",
      { class: "login", onsubmit: submit },
      h("img", { src: "/dashboard/icon.svg", alt: "", width: 56, height: 56 }),
      h("h1", {}, "Axle"),
      h("label", { for: "token" }, "Access token"),
      field,
      h("button", { class: "primary" }, "Log in"),
      why ? h("p", { class: "error", role: "alert" }, why) : null,
      h("p", { class: "hint" }, "On the hub's machine, axle-hub token --subject NAME --role viewer prints one. It stays in this tab."),
    ),
  );
  field.focus();
}

function theme() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const set = (name) => (document.documentElement.dataset.theme = name);
  set(localStorage.getItem("axle.theme") ?? (dark ? "dark" : "light"));
  element("theme").addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem("axle.theme", next);
    set(next);
  });
}

theme();
element("nav").append(...VIEWS.map(([path, title]) => h("a", { href: `#/${path}`, "data-view": path }, title)));
element("logout").addEventListener("click", () => logout());
api.takeTokenFromAddress();
addEventListener("hashchange", () => {
  const before = api.token();
  api.takeTokenFromAddress();
  if (api.token() !== before || !session) {
    session?.abort();
    start();
  } else draw();
});
if (api.token()) start();
else login("");
