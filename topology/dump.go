package topology

import (
	"context"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/internal/netns"
)

// Dump is the running network, as the kernel has it now, as a shell script of ip, bridge, tc, nft and sysctl commands that
// builds it by hand, in namespaces with the names of the nodes. What such commands cannot build is listed at its end, as
// comments; so is what is the state of protocols, which come about by themselves: learnt neighbours, connections, counters.
func (r *Running) Dump(ctx context.Context) (string, error) {
	s := &script{}
	nodes, err := r.dumpers(s)
	if err != nil {
		return "", err
	}
	s.WriteString("#!/bin/sh\n" + dumpIntroduction + "set -e\n")
	s.heading("Nodes")
	for _, d := range nodes {
		s.run("ip", "netns", "add", d.node.Name)
	}
	s.heading("Settings of nodes, and those that new devices inherit")
	if err := dumpSettings(nodes, s); err != nil {
		return "", fmt.Errorf("dump: %w", err)
	}
	for _, part := range []struct {
		title string
		dump  func(d *dumper) error
	}{
		{"Cables", (*dumper).cables},
		{"Other devices", (*dumper).devices},
		{"What devices are and belong to", (*dumper).properties},
		{"Settings of devices", (*dumper).deviceSettings},
		{"What is up", (*dumper).up},
		{"Addresses", (*dumper).addresses},
		{"Ports of bridges", (*dumper).ports},
		{"Neighbours", (*dumper).neighbours},
		{"Routes", (*dumper).routes},
		{"Policy rules", (*dumper).rules},
		{"IPsec", (*dumper).ipsec},
		{"Queueing disciplines, filters and programs", (*dumper).traffic},
		{"Rulesets", func(d *dumper) error { return d.rulesets(ctx) }},
		{"WireGuard", (*dumper).wireGuards},
	} {
		s.heading(part.title)
		for _, d := range nodes {
			if err := part.dump(d); err != nil {
				return "", fmt.Errorf("dump node %s: %w", d.node, err)
			}
		}
	}
	s.next = ""
	if len(s.missing) > 0 {
		s.WriteString("\n# Not in this script:\n")
	}
	for _, line := range s.missing {
		s.WriteString("# - " + line + "\n")
	}
	return s.String(), nil
}

// dumpIntroduction is behind the first line.
const dumpIntroduction = `# Builds a network in namespaces that are called as its nodes. Run it as root, on a kernel with the same features; ip netns del
# takes each node down again.
`

// script collects commands.
type script struct {
	strings.Builder
	next    string // a heading, if a command follows
	missing []string
}

// heading begins a part, which is left out if it is empty.
func (s *script) heading(text string) { s.next = text }

func (s *script) begin() {
	if s.next != "" {
		s.WriteString("\n# " + s.next + "\n")
		s.next = ""
	}
}

// run adds a command.
func (s *script) run(words ...string) {
	s.begin()
	for i, word := range words {
		if i > 0 {
			s.WriteByte(' ')
		}
		s.WriteString(quote(word))
	}
	s.WriteByte('\n')
}

// give adds a command that reads a text.
func (s *script) give(text string, words ...string) {
	s.run(words...)
	end := "EOF"
	for strings.Contains("\n"+text, "\n"+end+"\n") {
		end += "F"
	}
	cut := strings.TrimSuffix(s.String(), "\n")
	s.Reset()
	s.WriteString(cut + " <<'" + end + "'\n" + strings.TrimSuffix(text, "\n") + "\n" + end + "\n")
}

// cannot notes something that no command builds.
func (s *script) cannot(format string, args ...any) {
	s.missing = append(s.missing, fmt.Sprintf(format, args...))
}

// quote makes one word of a text for the shell.
func quote(word string) string {
	plain := !strings.ContainsFunc(word, func(r rune) bool {
		return !strings.ContainsRune("%+,-./:=@_", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
	if plain && word != "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// dumper dumps one node.
type dumper struct {
	*runningNode
	*script
	plan  *plan
	all   []*dumper       // of every node, in order
	links []link          // by index
	usual map[string]bool // the features that a new cable is wanted to have
}

// dumpers looks at every node.
func (r *Running) dumpers(s *script) ([]*dumper, error) {
	var all []*dumper
	for _, node := range r.network.nodes {
		rn, ok := r.nodes[node]
		if !ok {
			continue // added after Up
		}
		links, err := rn.allLinks()
		if err != nil {
			return nil, fmt.Errorf("node %s: list devices: %w", node, err)
		}
		all = append(all, &dumper{runningNode: rn, script: s, plan: r.network.plan(), links: links})
	}
	usual, err := usualFeatures()
	for _, d := range all {
		d.all, d.usual = all, usual
	}
	return all, err
}

// usualFeatures are those of a cable that was just made.
func usualFeatures() (features map[string]bool, err error) {
	ns, err := netns.New()
	if err != nil {
		return nil, err
	}
	defer func() { _ = ns.Close() }()
	err = ns.Do(func() error {
		handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer handle.Close()
		veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "peer"}
		veth.Name = "new"
		if err := handle.LinkAdd(veth); err != nil {
			return err
		}
		features, err = wantedFeatures("new")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look at a new cable: %w", err)
	}
	return features, nil
}

// ip adds an ip command in the node.
func (d *dumper) ip(words ...string) { d.run(append([]string{"ip", "-n", d.node.Name}, words...)...) }

// inside is the beginning of a command that runs in the node.
func (d *dumper) inside(words ...string) []string {
	return append([]string{"ip", "netns", "exec", d.node.Name}, words...)
}

// name is that of a device; empty for 0.
func (d *dumper) name(index int) string {
	for _, l := range d.links {
		if l.Index == index {
			return l.Name
		}
	}
	return ""
}
