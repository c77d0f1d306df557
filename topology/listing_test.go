package topology

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// describe prints a listing compactly.
func (l *listing) describe() string {
	var b strings.Builder
	for _, table := range l.tables {
		fmt.Fprintf(&b, "%s %s %d\n", table.family, table.name, table.handle)
		for _, chain := range table.chains {
			fmt.Fprintf(&b, "  %s %d [%s]\n", chain.name, chain.handle, chain.policy)
			for _, rule := range chain.rules {
				fmt.Fprintf(&b, "    %d: %s\n", rule.handle, rule.text)
			}
		}
	}
	return b.String()
}

func TestParseListing(t *testing.T) {
	tests := []struct{ name, listing, want string }{
		{"nothing", "", ""},
		{"empty table", "table ip t { # handle 7\n}\n", "ip t 7\n"},
		{"chains and policies", `table inet filter { # handle 1
	chain input { # handle 1
		type filter hook input priority filter; policy drop;
		ct state established accept # handle 6
	}

	chain lone { # handle 2
	}
}
table netdev nd { # handle 3
	chain x { # handle 1
		type filter hook ingress device "lo" priority filter; policy accept;
	}
}
`, `inet filter 1
  input 1 [drop]
    6: ct state established accept
  lone 2 []
netdev nd 3
  x 1 [accept]
`},
		{"comments that look like handles, rules and ends", "table inet t { # handle 1\n" +
			"\tcomment \"table # handle 5\"\n" +
			"\tchain c { # handle 1\n" +
			"\t\tcomment \"a\n}\n b # handle 4\"\n" +
			"\t\ttype filter hook forward priority filter - 10; policy accept;\n" +
			"\t\tudp dport 9 drop comment \"multi\n\t}\nline # handle 3\n\" # handle 8\n" +
			"\t\tlog prefix \"x } # handle 3\" drop comment \"; policy drop;\" # handle 10\n" +
			"\t\taccept comment \"{\" # handle 11\n" +
			"\t}\n}\n", "inet t 1\n  c 1 [accept]\n" +
			"    8: udp dport 9 drop comment \"multi\n\t}\nline # handle 3\n\"\n" +
			"    10: log prefix \"x } # handle 3\" drop comment \"; policy drop;\"\n" +
			"    11: accept comment \"{\"\n"},
		{"everything that is no chain", `table inet t { # handle 1
	flags dormant
	ct helper ftp { # handle 2
		type "ftp" protocol tcp
		l3proto inet
	}

	ct timeout to { # handle 3
		policy = { established : 100, close : 4 }
	}

	set big { # handle 7
		type ipv4_addr
		comment "s } # handle 2"
		elements = { 1.0.0.1 comment "e # handle 9", 1.0.0.2,
			     1.0.0.3, 1.0.0.5 }
	}

	map m { # handle 5
		type inet_service : verdict
		elements = { 80 : drop }
	}

	flowtable ft { # handle 8
		hook ingress priority filter
		devices = { eth0, eth1 }
	}

	chain c { # handle 9
		ip saddr @big drop # handle 10
	}
}
`, "inet t 1\n  c 9 []\n    10: ip saddr @big drop\n"},
		{"braces in rules", `table inet t { # handle 1
	chain c { # handle 1
		tcp dport 5 jump {
			ip saddr 1.1.1.1 accept
			goto {
				udp sport 9 drop
			}
		} # handle 19
		tcp dport { 5, 6, 7 } return # handle 23
		tcp dport vmap { 22 : accept, 80 : jump foo } # handle 24
	}
}
`, "inet t 1\n  c 1 []\n" +
			"    19: tcp dport 5 jump { ip saddr 1.1.1.1 accept goto { udp sport 9 drop } }\n" +
			"    23: tcp dport { 5, 6, 7 } return\n" +
			"    24: tcp dport vmap { 22 : accept, 80 : jump foo }\n"},
		{"managed by iptables", `# Warning: table ip filter is managed by iptables-nft, do not touch!
table ip filter { # handle 1
	chain INPUT { # handle 1
		type filter hook input priority filter; policy accept;
		udp dport 8080 counter drop # handle 4
	}
}
`, "ip filter 1\n  INPUT 1 [accept]\n    4: udp dport 8080 counter drop\n"},
		{"a rule without statements", "table ip t { # handle 1\n\tchain c { # handle 1\n\t\t # handle 4\n\t}\n}\n",
			"ip t 1\n  c 1 []\n    4: \n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseListing(test.listing)
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.Equals(got.describe(), test.want))
		})
	}
}

func TestParseListingRefuses(t *testing.T) {
	tests := []struct{ name, listing, want string }{
		{"no table", "hello\n", `statement 1 of the listing is not a table: "hello"`},
		{"no end", "table ip t { # handle 1\n", "the listing ends inside table ip t"},
		{"open string", "table ip t { # handle 1\n\tcomment \"x\n}\n", "the listing ends inside a string"},
		{"no handle", "table ip t {\n}\n", `statement 1 of the listing is not a table: "table ip t {"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := parseListing(test.listing)
			qt.Check(t, qt.ErrorMatches(err, test.want))
		})
	}
}

func TestReadRules(t *testing.T) {
	const text = `table ip t { # handle 1
	chain c { # handle 1
		type filter hook input priority filter; policy drop;
		accept comment "yes" # handle 4
		drop # handle 5
	}
}
table inet t { # handle 2
	chain c { # handle 1
		drop # handle 4
	}
}
table inet u { # handle 3
	chain c { # handle 1
	}
}
`
	known := []kernelRule{
		{"ip", "t", "c", 4, "yes"}, {"ip", "t", "c", 5, ""}, {"inet", "t", "c", 4, ""}, {"inet", "t", "__chain0", 9, ""},
	}
	rules, err := readRules(text, known)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(rules, map[RuleRef]Rule{
		{"t", 1, "c", 0}: {Family: "ip", Text: "policy drop"},
		{"t", 1, "c", 4}: {Family: "ip", Text: `accept comment "yes"`, Comment: "yes"},
		{"t", 1, "c", 5}: {Family: "ip", Text: "drop"},
		{"t", 2, "c", 4}: {Family: "inet", Text: "drop"},
	}))

	// Anything that the two disagree on makes the whole listing worthless.
	tests := []struct {
		name  string
		known []kernelRule
		want  string
	}{
		{"one missing", known[1:], "nft's listing of chain c in table ip t differs from the kernel's rules"},
		{"order", []kernelRule{known[1], known[0], known[2]},
			"nft's listing of chain c in table ip t differs from the kernel's rules"},
		{"comment", []kernelRule{{"ip", "t", "c", 4, "no"}, known[1], known[2]},
			"nft's listing of chain c in table ip t differs from the kernel's rules"},
		{"chain", append([]kernelRule{{"inet", "u", "d", 1, ""}}, known...),
			"nft's listing leaves out chain d in table inet u"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := readRules(text, test.known)
			qt.Check(t, qt.ErrorMatches(err, test.want))
		})
	}
}

func TestCommentInUserData(t *testing.T) {
	tests := []struct{ data, want string }{
		{"", ""},
		{"\x00\x04abc\x00", "abc"},
		{"\x02\x01x\x00\x02a\x00", "a"},
		{"\x00\x09abc\x00", ""},
		{"\x00", ""},
	}
	for _, test := range tests {
		qt.Check(t, qt.Equals(commentIn([]byte(test.data)), test.want), qt.Commentf("%q", test.data))
	}
}

// FuzzListing loads rules with fuzzed comments, log prefixes and ports into the kernel, and demands that what nft lists is
// understood, rule by rule, or that nft refused the text in the first place.
func FuzzListing(f *testing.F) {
	need(f, "nft")
	var n Network
	node := n.Add(Node{Name: "fw"})
	r, err := Up(context.Background(), &n)
	qt.Assert(f, qt.IsNil(err))
	f.Cleanup(func() { qt.Check(f, qt.IsNil(r.Close())) })

	f.Add("no metrics", "dropped: ", uint16(8080), uint8(3))
	f.Add("a # handle 3", "x } # handle 9", uint16(1), uint8(9))
	f.Add("multi\n\t}\n}\nline # handle 3\n", "", uint16(1), uint8(17))
	f.Add("\t\taccept # handle 4\n\t}", "{", uint16(9), uint8(0))
	f.Add("; policy drop;", "type filter hook input priority filter; policy drop;", uint16(9), uint8(1))
	f.Fuzz(func(t *testing.T, comment, prefix string, port uint16, elements uint8) {
		if strings.ContainsAny(comment+prefix, "\"\x00") {
			t.Skip("a string in nft's language cannot hold it")
		}
		var addresses []string
		for i := range elements {
			addresses = append(addresses, fmt.Sprintf("10.0.%d.0/24", i))
		}
		set := ""
		if elements > 0 {
			set = fmt.Sprintf("ip saddr { %s }", strings.Join(addresses, ", "))
		}
		text := fmt.Sprintf(`flush ruleset
table inet t {
	set s { type ipv4_addr; flags interval; %s; comment "%s"; }
	chain plain { accept; }
	chain c {
		type filter hook input priority 0; policy drop;
		accept comment "first"
		udp dport %d %s counter drop comment "%s"
		log prefix "%s" jump plain
		udp dport %d jump { drop; }
		accept comment "last"
	}
}
`, strings.Replace("elements = { E }", "E", strings.Join(append(addresses, "11.0.0.1"), ", "), 1),
			comment, port, set, comment, prefix, port)
		if err := r.LoadNFT(t.Context(), node, text); err != nil {
			t.Skip(err) // too long, or not what nft takes for a string
		}
		newest := r.nodes[node].rules.newest()
		qt.Assert(t, qt.IsNil(newest.unreadable), qt.Commentf("%s", newest.Text))
		comments := make(map[string]Rule)
		count := 0
		for ref, rule := range newest.rules {
			if ref.TableHandle == 0 {
				continue // the same under a shorter name
			}
			count++
			comments[rule.Comment] = rule
		}
		qt.Assert(t, qt.Equals(count, 7), qt.Commentf("%s", newest.Text))
		qt.Assert(t, qt.Equals(comments["first"].Text, `accept comment "first"`))
		qt.Assert(t, qt.Equals(comments["last"].Text, `accept comment "last"`))
		if comment != "first" && comment != "last" && comment != "" {
			qt.Assert(t, qt.IsTrue(strings.HasPrefix(comments[comment].Text, fmt.Sprintf("udp dport %d ", port))),
				qt.Commentf("%+v\n%s", comments, newest.Text))
			qt.Assert(t, qt.IsTrue(strings.HasSuffix(comments[comment].Text, ` drop comment "`+comment+`"`)))
		}
	})
}
