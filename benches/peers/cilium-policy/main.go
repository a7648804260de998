// Times Cilium's policy engine on the world that P15 compiles, and says how it judges a sample of packets.
//
// It reads a world (JSON, the file named by its argument) and writes one JSON object. What is timed is what an agent
// does with one node's endpoints: policies parsed from Kubernetes NetworkPolicy, identities and rules taken up, and for
// each endpoint its policy resolved and distilled into map entries. Nothing is written to a kernel.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/cilium/cilium/pkg/endpoint/regeneration"
	"github.com/cilium/cilium/pkg/identity"
	"github.com/cilium/cilium/pkg/identity/identitymanager"
	ipcache "github.com/cilium/cilium/pkg/ipcache/types"
	"github.com/cilium/cilium/pkg/k8s"
	networking "github.com/cilium/cilium/pkg/k8s/slim/k8s/api/networking/v1"
	"github.com/cilium/cilium/pkg/labels"
	"github.com/cilium/cilium/pkg/option"
	"github.com/cilium/cilium/pkg/policy"
	"github.com/cilium/cilium/pkg/policy/types"
	"github.com/cilium/cilium/pkg/u8proto"
)

const cluster = "here"

// Identities of workloads begin here; those of blocks at the local scope.
const firstIdentity = 1000

type pod struct {
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels"`
}

type probe struct {
	Local int    `json:"local"`
	Peer  *int   `json:"peer"`
	Block *int   `json:"block"`
	Port  uint16 `json:"port"`
}

type world struct {
	Rounds        int               `json:"rounds"`
	Identities    []pod             `json:"identities"`
	Blocks        []string          `json:"blocks"`
	Locals        []int             `json:"locals"`
	Policies      []json.RawMessage `json:"policies"`
	NewIdentities []pod             `json:"newIdentities"`
	Added         []json.RawMessage `json:"added"`
	Ports         []json.RawMessage `json:"ports"`
	Changed       []json.RawMessage `json:"changed"`
	Probes        []probe           `json:"probes"`
}

type results struct {
	Version    string    `json:"version"`
	ParseMs    []float64 `json:"parseMs"`
	CompileMs  []float64 `json:"compileMs"`
	IdentityUs []float64 `json:"identityUs"`
	AddedUs    []float64 `json:"addedUs"`
	PortsUs    []float64 `json:"portsUs"`
	ChangedUs  []float64 `json:"changedUs"`
	HeapBytes  uint64    `json:"heapBytes"`
	Entries    int       `json:"entries"`
	Verdicts   []bool    `json:"verdicts"`
}

// noMetrics counts nothing.
type noMetrics struct{}

func (noMetrics) AddRule(types.PolicyEntry) {}
func (noMetrics) DelRule(types.PolicyEntry) {}

// owner is an endpoint of the node.
type owner struct{ id uint64 }

func (o owner) GetID() uint64                                    { return o.id }
func (owner) GetIngressNamedPort(string, u8proto.U8proto) uint16 { return 0 }
func (owner) PolicyDebug(string, ...any)                         {}
func (owner) IsHost() bool                                       { return false }
func (owner) PreviousMapStateSizes() policy.MapStateSizes        { return policy.MapStateSizes{} }
func (owner) RegenerateIfAlive(*regeneration.ExternalRegenerationMetadata) <-chan bool {
	done := make(chan bool)
	close(done)
	return done
}

// parsed is a policy as the engine takes it.
type parsed struct {
	resource ipcache.ResourceID
	entries  types.PolicyEntries
}

// engine is the policy of one node.
type engine struct {
	logger    *slog.Logger
	repo      *policy.Repository
	locals    []*identity.Identity
	resolved  map[identity.NumericIdentity]policy.SelectorPolicy
	endpoints []*policy.EndpointPolicy
}

func labelsOf(p pod) labels.Labels {
	all := labels.Map2Labels(p.Labels, labels.LabelSourceK8s)
	all["io.kubernetes.pod.namespace"] = labels.NewLabel("io.kubernetes.pod.namespace", p.Namespace, labels.LabelSourceK8s)
	all["io.cilium.k8s.policy.cluster"] = labels.NewLabel("io.cilium.k8s.policy.cluster", cluster, labels.LabelSourceK8s)
	return all
}

func parse(logger *slog.Logger, texts []json.RawMessage) ([]parsed, error) {
	all := make([]parsed, 0, len(texts))
	for _, text := range texts {
		var np networking.NetworkPolicy
		if err := json.Unmarshal(text, &np); err != nil {
			return nil, err
		}
		entries, err := k8s.ParseNetworkPolicy(logger, cluster, &np)
		if err != nil {
			return nil, err
		}
		resource := ipcache.NewResourceID(ipcache.ResourceKindNetpol, np.Namespace, np.Name)
		all = append(all, parsed{resource, entries})
	}
	return all, nil
}

// compile takes everything up and distills the policy of each endpoint.
func compile(logger *slog.Logger, w *world, ids identity.IdentityMap, policies []parsed) (*engine, error) {
	e := &engine{logger: logger, resolved: map[identity.NumericIdentity]policy.SelectorPolicy{}}
	e.repo = policy.NewPolicyRepository(logger, nil, nil, nil, identitymanager.NewIDManager(logger), noMetrics{})
	var wg sync.WaitGroup
	e.repo.GetSelectorCache().UpdateIdentities(ids, nil, &wg)
	subjects := identity.IdentityMap{}
	for _, at := range w.Locals {
		id := identity.NumericIdentity(firstIdentity + at)
		subjects[id] = ids[id]
		e.locals = append(e.locals, identity.NewIdentity(id, labelsOf(w.Identities[at])))
	}
	e.repo.UpdateIdentities(subjects, nil)
	wg.Wait()
	for _, p := range policies {
		e.repo.ReplaceByResource(p.entries, p.resource)
	}
	e.endpoints = make([]*policy.EndpointPolicy, len(e.locals))
	for at := range e.locals {
		if err := e.regenerate(at); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// regenerate makes the policy of an endpoint anew.
func (e *engine) regenerate(at int) error {
	id := e.locals[at]
	resolved, known := e.resolved[id.ID]
	if !known {
		made, _, err := e.repo.ComputeSelectorPolicy(id)
		if err != nil {
			return err
		}
		resolved = made
		e.resolved[id.ID] = made
	}
	before := e.endpoints[at]
	e.endpoints[at] = resolved.DistillPolicy(e.logger, owner{uint64(at + 1)}, nil)
	if err := e.endpoints[at].Ready(); err != nil {
		return err
	}
	if before != nil {
		before.Detach(e.logger)
	}
	return nil
}

// replace puts one policy in the place of what has its name, up to the map entries of the endpoints concerned.
func (e *engine) replace(p parsed) error {
	affected, _, _ := e.repo.ReplaceByResource(p.entries, p.resource)
	stale := map[identity.NumericIdentity]policy.SelectorPolicy{}
	for at, id := range e.locals {
		if !affected.Has(id.ID) {
			continue
		}
		if _, seen := stale[id.ID]; !seen {
			stale[id.ID] = e.resolved[id.ID]
			delete(e.resolved, id.ID)
		}
		if err := e.regenerate(at); err != nil {
			return err
		}
	}
	for _, old := range stale {
		old.Supersede()
	}
	return nil
}

// identity takes up one identity, up to the map entries of every endpoint that selects it.
func (e *engine) identity(id identity.NumericIdentity, array labels.LabelArray) {
	var wg sync.WaitGroup
	e.repo.GetSelectorCache().UpdateIdentities(identity.IdentityMap{id: array}, nil, &wg)
	wg.Wait()
	for _, endpoint := range e.endpoints {
		closer, _ := endpoint.ConsumeMapChanges()
		closer()
	}
}

func (e *engine) judge(w *world, p probe) bool {
	var peer identity.NumericIdentity
	if p.Block != nil {
		peer = blockIdentity(*p.Block)
	} else {
		peer = identity.NumericIdentity(firstIdentity + *p.Peer)
	}
	key := policy.IngressKey().WithIdentity(peer).WithPortProto(u8proto.TCP, p.Port)
	entry, _, _ := e.endpoints[p.Local].Lookup(key)
	return !entry.IsDeny()
}

func blockIdentity(at int) identity.NumericIdentity {
	return identity.IdentityScopeLocal + identity.NumericIdentity(at+1)
}

func since(start time.Time, unit time.Duration) float64 {
	return float64(time.Since(start)) / float64(unit)
}

func heap() uint64 {
	runtime.GC()
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func run(path string) (*results, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var w world
	if err := json.Unmarshal(text, &w); err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError}))
	policy.SetPolicyEnabled(option.DefaultEnforcement)
	r := &results{Version: version()}

	ids := identity.IdentityMap{}
	identity.IterateReservedIdentities(func(id identity.NumericIdentity, known *identity.Identity) {
		ids[id] = known.Labels.LabelArray()
	})
	for at, p := range w.Identities {
		ids[identity.NumericIdentity(firstIdentity+at)] = labelsOf(p).LabelArray()
	}
	for at, block := range w.Blocks {
		ids[blockIdentity(at)] = labels.GetCIDRLabels(netip.MustParsePrefix(block)).LabelArray()
	}
	var e *engine
	for range w.Rounds {
		e = nil
		before := heap()
		start := time.Now()
		policies, err := parse(logger, w.Policies)
		if err != nil {
			return nil, err
		}
		r.ParseMs = append(r.ParseMs, since(start, time.Millisecond))
		start = time.Now()
		if e, err = compile(logger, &w, ids, policies); err != nil {
			return nil, err
		}
		r.CompileMs = append(r.CompileMs, since(start, time.Millisecond))
		r.HeapBytes = heap() - before
		runtime.KeepAlive(policies)
	}
	for _, endpoint := range e.endpoints {
		r.Entries += endpoint.Len()
	}
	for _, p := range w.Probes {
		r.Verdicts = append(r.Verdicts, e.judge(&w, p))
	}
	for at, p := range w.NewIdentities {
		array := labelsOf(p).LabelArray()
		id := identity.NumericIdentity(firstIdentity + len(w.Identities) + at)
		start := time.Now()
		e.identity(id, array)
		r.IdentityUs = append(r.IdentityUs, since(start, time.Microsecond))
	}
	each := func(texts []json.RawMessage, times *[]float64) error {
		policies, err := parse(logger, texts)
		if err != nil {
			return err
		}
		for _, p := range policies {
			start := time.Now()
			if err := e.replace(p); err != nil {
				return err
			}
			*times = append(*times, since(start, time.Microsecond))
		}
		return nil
	}
	if err := each(w.Added, &r.AddedUs); err != nil {
		return nil, err
	}
	if err := each(w.Ports, &r.PortsUs); err != nil {
		return nil, err
	}
	return r, each(w.Changed, &r.ChangedUs)
}

// version is that of the engine, as it was built in.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "of unknown version"
	}
	for _, module := range info.Deps {
		if module.Path == "github.com/cilium/cilium" {
			return module.Version
		}
	}
	return "of unknown version"
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: cilium-policy WORLD.json")
		os.Exit(2)
	}
	r, err := run(os.Args[1])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cilium-policy:", err)
		os.Exit(1)
	}
}
