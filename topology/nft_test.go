package topology

import (
	"context"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

func TestNFTErrorText(t *testing.T) {
	const text = "table inet a {\n chain b {\n  udp dprot 8080 drop\n }\n}\nfoo\n"
	tests := []struct{ name, output, want string }{
		{"position",
			"/dev/stdin:3:7-11: Error: syntax error, unexpected string\n  udp dprot 8080 drop\n      ^^^^^\n",
			`nft refuses line 3 of the ruleset, "udp dprot 8080 drop": syntax error, unexpected string`},
		{"two",
			"/dev/stdin:3:7-11: Error: one\n  udp\n  ^\n/dev/stdin:6:4-4: Error: two\nfoo\n   ^\n",
			`nft refuses line 3 of the ruleset, "udp dprot 8080 drop": one (and one more error)`},
		{"three",
			"/dev/stdin:6:1-2: Error: one\n/dev/stdin:6:4-4: Error: two\n/dev/stdin:6:4-4: Error: three\n",
			`nft refuses line 6 of the ruleset, "foo": one (and 2 more errors)`},
		{"no position", "netlink: Error: cache initialization failed: Operation not permitted\n",
			"nft refuses the ruleset: netlink: cache initialization failed: Operation not permitted"},
		{"included file", "In file included from /dev/stdin:1:1-2:\n/etc/a.nft:9:1-3: Error: syntax error\n",
			"nft refuses the ruleset: /etc/a.nft:9:1-3: syntax error"},
		{"position outside", "/dev/stdin:99:7-11: Error: syntax error\n",
			"nft refuses the ruleset: /dev/stdin:99:7-11: syntax error"},
		{"in a file", "/dev/stdin:6:1-3: Error: syntax error\n", `nft refuses line 6 of rules.nft, "foo": syntax error`},
		{"something else, in a file", "nft: out of luck\n", "nft refuses rules.nft: nft: out of luck"},
		{"something else", "nft: out of luck\n", "nft refuses the ruleset: nft: out of luck"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			refused := newNFTError(text, test.output)
			if strings.HasSuffix(test.name, "in a file") {
				refused.File = "rules.nft"
			}
			qt.Check(t, qt.Equals(refused.Error(), test.want))
		})
	}
}

func TestUpReportsRefusedRulesets(t *testing.T) {
	need(t, "nft")
	var n Network
	n.Add(Node{Name: "client", NFT: "table inet a {\n chain b {\n  udp dprot 8080 drop\n }\n}\n"})
	n.Add(Node{Name: "fw", NFT: "add rule inet a b udp dport 8080 drop"})
	n.Add(Node{Name: "server", NFT: "table inet fine { }"})
	before := fds(t)
	_, err := Up(t.Context(), &n)
	qt.Assert(t, qt.IsNotNil(err))
	lines := strings.Split(err.Error(), "\n")
	qt.Assert(t, qt.HasLen(lines, 2))
	// nft lists what it expected, which grows with its versions.
	qt.Check(t, qt.Matches(lines[0], `bring up network: node client: nft refuses line 3 of the ruleset, `+
		`"udp dprot 8080 drop": syntax error, unexpected string, expecting .*`))
	qt.Check(t, qt.Equals(lines[1], `node fw: nft refuses line 1 of the ruleset, `+
		`"add rule inet a b udp dport 8080 drop": Could not process rule: No such file or directory`))
	var refused *NFTError
	qt.Assert(t, qt.ErrorAs(err, &refused))
	qt.Check(t, qt.Equals(refused.Line, 3))
	qt.Check(t, qt.StringContains(refused.Output, "^^^^^"))
	qt.Check(t, qt.DeepEquals(fds(t), before))
}

func TestLoadNFTStopsWhenCancelled(t *testing.T) {
	need(t, "nft")
	var n Network
	fw := n.Add(Node{Name: "fw"})
	r := mustUp(t, &n)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := r.LoadNFT(ctx, fw, "table inet fine { }")
	qt.Check(t, qt.ErrorIs(err, context.Canceled))
}
