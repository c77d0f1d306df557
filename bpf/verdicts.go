package bpf

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/waybill-dev/waybill/journey"
)

// tableModules are the functions whose returns are iptables' verdicts, and the modules that they are in.
var tableModules = map[string]string{"ipt_do_table": "ip_tables", "ip6t_do_table": "ip6_tables"}

// Tables lists, sorted, the functions by which the verdicts of iptables are observed, as far as the kernel has them now: they
// come with modules, when the first table is made.
func (t *Tracker) Tables() ([]string, error) {
	if t.tier == Tracepoints {
		return nil, nil
	}
	list, err := t.catalog.traceable()
	if err != nil {
		return nil, fmt.Errorf("look for the tables of iptables: %w", err)
	}
	var found []string
	for _, name := range slices.Sorted(maps.Keys(tableModules)) {
		if len(list.modules(name)) > 0 {
			found = append(found, name)
		}
	}
	return found, nil
}

// resolveTable chooses the programs that observe verdicts of iptables, which know one list of arguments: that since
// Linux 5.16.
func resolveTable(declarations []declared) (target, error) {
	var arguments []string
	for _, p := range declarations[0].params {
		arguments = append(arguments, structName(p.Type))
	}
	if signature := strings.Join(arguments, ", "); signature != ", sk_buff, nf_hook_state" || len(declarations) > 1 {
		return target{}, fmt.Errorf("this kernel gives it arguments that the tracker does not know (%s)", signature)
	}
	return target{program: trackerProgTableEntry, exit: trackerProgTableReturn, places: 1}, nil
}

// tableTypes reads the types of the modules that the tables among the targets are in.
func (t *Tracker) tableTypes(targets []target) ([]*btf.Spec, error) {
	var all []*btf.Spec
	for _, target := range targets {
		if target.program != trackerProgTableEntry {
			continue
		}
		types, err := t.catalog.cache.Module(tableModules[target.name])
		if err != nil {
			return nil, fmt.Errorf("read the types of %s: %w", tableModules[target.name], err)
		}
		all = append(all, types)
	}
	return all, nil
}

// iptables reads a verdict. The kernel gives the family as a number of enum nfproto
// (include/uapi/linux/netfilter.h), which are those of addresses.
func iptables(i *trackerIptablesEvent) *journey.IPTables {
	family, ok := map[uint8]string{2: "ip", 10: "ip6"}[i.Family]
	if !ok {
		family = fmt.Sprintf("family %d", i.Family)
	}
	return &journey.IPTables{
		Family: family, Table: text(i.Table[:]), Hook: journey.HookName(i.Hook), Verdict: journey.Verdict(i.Verdict),
	}
}

// verdicts are the codes of include/uapi/linux/netfilter.h and nf_tables.h (enum nft_verdicts).
var verdicts = map[int32]string{
	0: "drop", 1: "accept", 2: "stolen", 3: "queue", 4: "repeat",
	-1: "continue", -2: "break", -3: "jump", -4: "goto", -5: "return",
}

const (
	nftTypePolicy = 1 // enum nft_trace_types, include/uapi/linux/netfilter/nf_tables.h
	nfVerdictMask = 0xff
)

func nft(n *trackerNftEvent) *journey.NFT {
	code := n.Verdict
	policy := n.Type == nftTypePolicy
	if policy {
		code = int32(n.Policy)
	}
	if code > 0 {
		code &= nfVerdictMask // a queue's number is in the upper half
	}
	verdict, ok := verdicts[code]
	if !ok {
		verdict = fmt.Sprintf("verdict %d", code)
	}
	var target string
	if verdict == "jump" || verdict == "goto" {
		target = text(n.Target[:])
	}
	return &journey.NFT{
		Table:       text(n.Table[:]),
		TableHandle: n.TableHandle,
		Chain:       text(n.Chain[:]),
		ChainHandle: n.ChainHandle,
		Rule:        n.RuleHandle,
		Verdict:     verdict,
		Target:      target,
		Policy:      policy,
	}
}
