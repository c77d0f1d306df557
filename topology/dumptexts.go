package topology

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

// managed finds what nft says before tables that other programs made through nftables, of which it cannot print all
// (nftables, src/rule.c). The families have programs of their own.
var managed = regexp.MustCompile(`(?m)^# Warning: table (ip|ip6|bridge|arp) \S+ is managed by \S+, do not touch!\n`)

// saved are the programs that print and restore what is in such tables.
var saved = []struct {
	family, tool string
	text         func(*Node) string
}{
	{"ip", "iptables", func(n *Node) string { return n.IPTables }},
	{"ip6", "ip6tables", func(n *Node) string { return n.IP6Tables }},
	{"bridge", "ebtables", func(n *Node) string { return n.EBTables }},
	{"arp", "arptables", func(*Node) string { return "" }},
}

// rulesets adds the nftables ruleset, and what iptables and its relatives have.
func (d *dumper) rulesets(ctx context.Context) error {
	text := ""
	if d.hasRuleset() {
		var err error
		if text, _, err = runNFT(ctx, d.ns, "", "-s", "list", "ruleset"); err != nil {
			return fmt.Errorf("list nft ruleset: %w", err)
		}
	}
	families := make(map[string]bool)
	for _, found := range managed.FindAllStringSubmatch(text, -1) {
		families[found[1]] = true
	}
	text = managed.ReplaceAllString(text, "")
	for _, s := range saved {
		if s.text(d.node) == "" && !families[s.family] {
			continue
		}
		rules, err := outputOf(ctx, d.ns, s.tool+"-save")
		if err != nil {
			return err
		}
		d.give(withoutComments(rules), d.inside(s.tool+"-restore")...)
		text = withoutSaved(text, s.family, rules)
	}
	if text = strings.TrimSpace(text); text != "" {
		d.give(text, d.inside("nft", "-f", "-")...)
	}
	return nil
}

// hasRuleset reports whether anything was ever changed in the node's nftables: a new namespace has generation 1
// (nf_tables_init_net, net/netfilter/nf_tables_api.c). A kernel that does not answer has none.
func (d *dumper) hasRuleset() bool {
	socket, err := openNFTSocket(d.ns)
	if err != nil {
		return false
	}
	defer socket.close()
	generation, err := socket.generation()
	return err == nil && generation > 1
}

// withoutSaved leaves the tables of a family out of a listing that a program saved, if it keeps them in nftables.
func withoutSaved(text, family, saved string) string {
	if !strings.Contains(saved, "(nf_tables)") {
		return text // its own tables are elsewhere
	}
	for line := range strings.Lines(saved) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "*")
		if !ok {
			continue
		}
		if before, behind, found := strings.Cut("\n"+text, "\ntable "+family+" "+name+" {\n"); found {
			_, behind, _ = strings.Cut("\n"+behind, "\n}\n")
			text = strings.TrimPrefix(before+"\n"+behind, "\n")
		}
	}
	return text
}

// withoutComments leaves out what a program says about itself and the time.
func withoutComments(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}
