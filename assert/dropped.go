package assert

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// BeDropped succeeds if every branch of the packet was dropped. Options: At, On, Reason, ByRule, ByPolicy, In, AnyBranch.
func BeDropped(options ...Option) types.GomegaMatcher {
	want, err := parse("BeDropped", options, "At", "On", "Reason", "ByRule", "ByPolicy", "In", "AnyBranch")
	return &outcomeMatcher{
		name: "BeDropped", verb: "to be dropped", needs: dropProbe, want: want, misuse: err, judge: judgeDrop,
	}
}

// dropProbe is the tracepoint by which drops are told.
var dropProbe = journey.Probe{Kind: journey.Tracepoint, Name: "skb:kfree_skb"}

func judgeDrop(e *expectation, o *journey.Outcome) (departure, error) {
	if o.Kind != journey.Dropped {
		return departure{how: "it was " + string(o.Kind)}, nil
	}
	if d := e.endedIn(o); d.how != "" {
		return d, nil
	}
	if e.reason != "" && !o.Event.Drop.Is(e.reason) {
		return departure{how: "it was dropped with reason " + o.Event.Drop.Reason}, nil
	}
	if e.function != "" && droppedIn(o.Event.Drop) != e.function {
		return departure{how: "it was dropped in function " + droppedIn(o.Event.Drop)}, nil
	}
	if e.rule == "" && e.policy == "" {
		return departure{}, nil
	}
	if o.Rule == nil {
		return departure{how: "no nftables verdict was reported right before the drop"}, nil
	}
	nft := o.Rule.NFT
	byAnother := departure{how: "it was dropped by " + nft.String(), hop: o.Rule}
	byRule := !nft.Policy && nft.Rule != 0
	switch {
	case e.policy != "":
		if !nft.Policy || nft.Chain != e.policy {
			return byAnother, nil
		}
	case !byRule:
		return byAnother, nil
	case nft.RuleText == "" && nft.Comment == "":
		return byAnother, fmt.Errorf("%w: it was dropped by %s", journey.ErrInconclusive, o.Judge())
	case !containsWords(nft.RuleText, e.rule) && !containsWords(nft.Comment, e.rule):
		return byAnother, nil
	}
	return departure{}, nil
}

// droppedIn is the function that dropped a packet, without what the compiler made of its name.
func droppedIn(d *journey.Drop) string {
	function, _, _ := strings.Cut(d.Location, "+")
	function, _, _ = strings.Cut(function, ".")
	if function == "" {
		return "that is not known"
	}
	return function
}

// containsWords says whether part occurs in text such that no word is cut at either end.
func containsWords(text, part string) bool {
	for at := 0; ; {
		i := strings.Index(text[at:], part)
		if i < 0 {
			return false
		}
		start, end := at+i, at+i+len(part)
		before, _ := utf8.DecodeLastRuneInString(text[:start])
		first, size := utf8.DecodeRuneInString(part)
		last, _ := utf8.DecodeLastRuneInString(part)
		after, _ := utf8.DecodeRuneInString(text[end:])
		cut := inWord(before) && inWord(first) || inWord(last) && inWord(after)
		if !cut {
			return true
		}
		at = start + size
	}
}

func inWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }
