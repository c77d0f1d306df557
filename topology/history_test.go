package topology

import (
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

const filterText = `table inet filter {
	chain input {
		type filter hook input priority 0; policy accept;
		ct state established accept
		udp dport 8080 counter drop comment "no metrics from outside"
		tcp dport 22 jump { accept; }
	}
}
`

func now(tb testing.TB) uint64 {
	tb.Helper()
	t, err := monotonic()
	qt.Assert(tb, qt.IsNil(err))
	return t
}

// outsideNFT changes a node's ruleset as another program would: past the history.
func outsideNFT(tb testing.TB, r *Running, node *Node, text string) {
	tb.Helper()
	qt.Assert(tb, qt.IsNil(loadNFT(tb.Context(), r.nodes[node].ns, text)))
}

// handleOf finds a rule of chain input by a piece of its text, in the state that was recorded last.
func handleOf(tb testing.TB, r *Running, node *Node, piece string) RuleRef {
	tb.Helper()
	for ref, rule := range r.nodes[node].rules.newest().rules {
		if ref.Handle != 0 && ref.TableHandle != 0 && strings.Contains(rule.Text, piece) {
			return ref
		}
	}
	tb.Fatalf("no rule has %q", piece)
	return RuleRef{}
}

func mustUpWithNFT(t *testing.T) (*Running, *Node) {
	t.Helper()
	need(t, "nft")
	var n Network
	fw := n.Add(Node{Name: "fw", NFT: filterText})
	return mustUp(t, &n), fw
}

func TestRuleInForce(t *testing.T) {
	r, fw := mustUpWithNFT(t)
	at := now(t)
	ref := handleOf(t, r, fw, "8080")

	// Before a check, nothing vouches for the time since Up.
	_, err := r.Rule(fw, at, ref)
	qt.Check(t, qt.ErrorIs(err, ErrRuleUnknown))
	qt.Check(t, qt.ErrorMatches(err, `node fw: the rule's text is not known: rule \d+ of chain input in table filter: `+
		"the ruleset has not been checked since then"))

	qt.Assert(t, qt.IsNil(r.CheckRulesets(t.Context())))
	want := Rule{
		Family:  "inet",
		Text:    `udp dport 8080 counter drop comment "no metrics from outside"`,
		Comment: "no metrics from outside",
	}
	rule, err := r.Rule(fw, at, ref)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(rule, want))

	ref.TableHandle = 0 // there is one table of that name
	rule, err = r.Rule(fw, at, ref)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(rule, want))

	ref.Handle = 0
	rule, err = r.Rule(fw, at, ref)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(rule, Rule{Family: "inet", Text: "policy accept"}))

	for _, test := range []struct {
		ref  RuleRef
		want string
	}{
		{RuleRef{Table: "filter", Chain: "input", Handle: 99},
			"rule 99 of chain input in table filter: the ruleset in force at that moment has none"},
		{RuleRef{Table: "other", Chain: "input"},
			"policy of chain input in table other: the ruleset in force at that moment has none"},
		{RuleRef{Table: "filter", Chain: "__chain0", Handle: 5},
			"rule 5 of chain __chain0 in table filter: nft does not list the handles of rules in a chain without name"},
	} {
		_, err = r.Rule(fw, at, test.ref)
		qt.Check(t, qt.ErrorMatches(err, "node fw: the rule's text is not known: "+test.want))
	}

	_, err = r.Rule(fw, 1, ref)
	qt.Check(t, qt.ErrorMatches(err, "node fw: .*: no ruleset had been loaded through this network by then"))
}

// The case that must not fool anybody: handles stay, or come back, while texts change.
func TestRuleThatWasReplaced(t *testing.T) {
	r, fw := mustUpWithNFT(t)
	old := handleOf(t, r, fw, "8080")
	first := now(t)
	replacement := strings.Replace("flush ruleset\n"+filterText, "counter drop", "counter accept", 1)
	qt.Assert(t, qt.IsNil(r.LoadNFT(t.Context(), fw, replacement)))
	second := now(t)
	qt.Assert(t, qt.IsNil(r.CheckRulesets(t.Context())))

	states := r.Rulesets(fw)
	qt.Assert(t, qt.HasLen(states, 2))
	qt.Check(t, qt.IsTrue(states[0].To < states[1].From))
	qt.Check(t, qt.StringContains(states[0].Text, "counter drop"))
	qt.Check(t, qt.StringContains(states[1].Text, "counter accept"))

	rule, err := r.Rule(fw, first, old)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(rule.Text, `udp dport 8080 counter drop comment "no metrics from outside"`))
	rule, err = r.Rule(fw, second, handleOf(t, r, fw, "8080"))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(rule.Text, `udp dport 8080 counter accept comment "no metrics from outside"`))

	_, err = r.Rule(fw, (states[0].To+states[1].From)/2, old)
	qt.Check(t, qt.ErrorMatches(err, "node fw: .*: the ruleset was being replaced at that moment"))
}

func TestLoadNFTAdds(t *testing.T) {
	r, fw := mustUpWithNFT(t)
	qt.Assert(t, qt.IsNil(r.LoadNFT(t.Context(), fw, `add rule inet filter input udp dport 9 accept comment "nine"`)))
	at := r.Rulesets(fw)[1].From
	rule, err := r.Rule(fw, at, handleOf(t, r, fw, "dport 9 "))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(rule.Comment, "nine"))
	_, err = r.Rule(fw, at, handleOf(t, r, fw, "8080")) // still there
	qt.Check(t, qt.IsNil(err))
}

func TestRefusedTextLeavesTheOldStateInForce(t *testing.T) {
	r, fw := mustUpWithNFT(t)
	before := now(t)
	err := r.LoadNFT(t.Context(), fw, "flush ruleset\nnonsense\n")
	qt.Check(t, qt.ErrorMatches(err, `node fw: nft refuses line 2 of the ruleset, "nonsense": .*`))
	after := now(t)
	qt.Assert(t, qt.IsNil(r.CheckRulesets(t.Context())))
	for _, at := range []uint64{before, after} {
		_, err := r.Rule(fw, at, handleOf(t, r, fw, "8080"))
		qt.Check(t, qt.IsNil(err))
	}
	qt.Check(t, qt.HasLen(r.Rulesets(fw), 1))
}

func TestRulesetChangedBehindOurBack(t *testing.T) {
	r, fw := mustUpWithNFT(t)
	ref := handleOf(t, r, fw, "8080")
	vouched := now(t)
	qt.Assert(t, qt.IsNil(r.CheckRulesets(t.Context())))
	outsideNFT(t, r, fw, "flush ruleset\n"+strings.Replace(filterText, "8080", "9090", 1))
	between := now(t)
	qt.Assert(t, qt.IsNil(r.CheckRulesets(t.Context())))
	after := now(t)
	qt.Assert(t, qt.IsNil(r.CheckRulesets(t.Context())))

	_, err := r.Rule(fw, vouched, ref)
	qt.Check(t, qt.IsNil(err))
	_, err = r.Rule(fw, between, ref)
	qt.Check(t, qt.ErrorMatches(err, "node fw: .*: somebody else changed the ruleset around that moment"))
	rule, err := r.Rule(fw, after, handleOf(t, r, fw, "9090"))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(rule.Text, `udp dport 9090 counter drop comment "no metrics from outside"`))

	// The same, noticed by a load instead of a check.
	outsideNFT(t, r, fw, "add table inet another")
	qt.Assert(t, qt.IsNil(r.LoadNFT(t.Context(), fw, "add table inet third")))
	states := r.nodes[fw].rules.states
	qt.Assert(t, qt.HasLen(states, 3))
	qt.Check(t, qt.Equals(states[1].after, "somebody else changed the ruleset around that moment"))
}

// A comment that holds a quotation mark, which nft's own language cannot express but other programs can set, makes the
// listing ambiguous: no text of it may be believed.
func TestListingThatCannotBeBelieved(t *testing.T) {
	r, fw := mustUpWithNFT(t)
	_, stderr, err := runNFT(t.Context(), r.nodes[fw].ns, `{"nftables": [{"add": {"rule": {
		"family": "inet", "table": "filter", "chain": "input", "comment": "x\" # handle 77",
		"expr": [{"drop": null}]}}}]}`, "-j", "-f", "-")
	qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", stderr))
	qt.Assert(t, qt.IsNil(r.CheckRulesets(t.Context())))
	states := r.nodes[fw].rules.states
	qt.Assert(t, qt.HasLen(states, 2))
	_, err = r.Rule(fw, states[1].From, RuleRef{Table: "filter", Chain: "input"})
	qt.Check(t, qt.ErrorIs(err, ErrRuleUnknown))
	qt.Check(t, qt.ErrorMatches(err, "node fw: .*: nft's listing cannot be read: the listing ends inside a string"))
}

func TestRuleWithoutHistory(t *testing.T) {
	need(t)
	var n Network
	fw := n.Add(Node{Name: "fw"})
	r := mustUp(t, &n)
	qt.Check(t, qt.IsNil(r.CheckRulesets(t.Context())))
	qt.Check(t, qt.HasLen(r.Rulesets(fw), 0))
	_, err := r.Rule(fw, now(t), RuleRef{Table: "t", Chain: "c", Handle: 1})
	qt.Check(t, qt.ErrorMatches(err, "node fw: the rule's text is not known: rule 1 of chain c in table t: "+
		"no ruleset was loaded through this network"))
}
